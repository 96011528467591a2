"""Counters become an observation: what each arm counted since the last tick. Pure.

A source is one serving process. It counts per arm, because one version can serve as several arms over its life (and
as `shadow` beside `canary`). Counters start from zero when a process restarts, so a difference has to notice that.
"""

from collections.abc import Mapping
from typing import TypeAlias

from perch.core.types import Arm, Command, Counts, Observation

Totals: TypeAlias = Mapping[str, Counts]
"""What one source counted since it started, by the arm that its requests named."""


def difference(previous: Counts | None, current: Counts) -> Counts:
    """What was counted between two readings of the same counters.

    A counter that is lower than before means that the process restarted: all of `current` is new then. The first
    reading ever (`previous` is `None`) only tells where to count from.
    """
    if previous is None:
        return current - current
    return current if _restarted(previous, current) else current - previous


def observe(
    tick: int,
    now_s: float,
    *,
    previous: Mapping[str, Totals],
    current: Mapping[str, Totals | None],
    deployed: Mapping[Arm, str],
    command: Command | None = None,
) -> tuple[Observation, Mapping[str, Totals]]:
    """The observation of one tick, and the totals to compare with in the next one.

    Args:
        tick: Number of the tick.
        now_s: End of the tick, in seconds since the epoch.
        previous: Totals by source, as this function returned them in the last tick; empty in the first one.
        current: Totals by source as just read. `None`, or no entry: the source did not answer.
        deployed: The source that serves each deployed arm.
        command: What a person asked for since the last tick.

    Returns:
        The observation. An arm whose source did not answer has `None` for its counts; when it answers again, they
        cover the whole time.
        The newest totals known of every source.
    """
    answered = {source: totals for source, totals in current.items() if totals is not None}
    arms = {
        arm: _counted(previous.get(source, {}), answered[source], arm.value) if source in answered else None
        for arm, source in deployed.items()
    }
    return Observation(tick, now_s, arms, command), {**previous, **answered}


def _counted(previous: Totals, current: Totals, arm: str) -> Counts | None:
    return difference(previous.get(arm), current[arm]) if arm in current else None


def _restarted(previous: Counts, current: Counts) -> bool:
    before = (previous.requests, previous.failed, *previous.latency, *previous.scores)
    after = (current.requests, current.failed, *current.latency, *current.scores)
    return any(b > a for b, a in zip(before, after, strict=True))
