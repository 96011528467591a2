"""Counters become an observation: what each arm counted since the last tick. Pure.

A source is one serving process: the only one of its version, or one of its pods. It counts per arm, because one version
can serve as several arms over its life (and as `shadow` beside `canary`). Counters start from zero when a process
restarts, so a difference has to notice that.
"""

from collections.abc import Mapping
from typing import TypeAlias

from perch.core.types import Arm, Command, Counts, Observation

Totals: TypeAlias = Mapping[str, Counts]
"""What one source counted since it started, by the arm that its requests named."""


def source_name(version: int, pod: str = "") -> str:
    """Name of a source: its version, such as `3`, and its pod where a version has pods, such as `3/ads-v3-x2z`."""
    return f"{version}/{pod}" if pod else str(version)


def version_of(source: str) -> int:
    """The version that a source serves."""
    return int(source.partition("/")[0])


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
    deployed: Mapping[Arm, int],
    command: Command | None = None,
) -> tuple[Observation, Mapping[str, Totals]]:
    """The observation of one tick, and the totals to compare with in the next one.

    Args:
        tick: Number of the tick.
        now_s: End of the tick, in seconds since the epoch.
        previous: Totals by source, as this function returned them in the last tick; empty in the first one.
        current: Totals by source as just read. `None`, or no entry: the source did not answer.
        deployed: The version that serves each deployed arm.
        command: What a person asked for since the last tick.

    Returns:
        The observation. An arm of which no source answered has `None` for its counts; when one answers again, they
        cover the whole time. Of an arm with several sources each is told apart, too.
        The newest totals known of every source that has not given way to others.
    """
    answered = {source: totals for source, totals in current.items() if totals is not None}
    by_source = {
        arm: _counted(_of(previous, version), _of(answered, version), arm.value) for arm, version in deployed.items()
    }
    arms = {arm: _sum(counted) for arm, counted in by_source.items()}
    pods = {
        arm: {source.partition("/")[2]: counts for source, counts in counted.items()}
        for arm, counted in by_source.items()
        if len(counted) > 1
    }
    return Observation(tick, now_s, arms, command, pods=pods), {**_lasting(previous, current), **answered}


def _lasting(previous: Mapping[str, Totals], current: Mapping[str, Totals | None]) -> Mapping[str, Totals]:
    """The totals without those of sources that are gone: no longer listed, while others of their version are."""
    versions = {version_of(source) for source in current}
    return {name: totals for name, totals in previous.items() if name in current or version_of(name) not in versions}


def _of(totals: Mapping[str, Totals], version: int) -> Mapping[str, Totals]:
    return {source: counted for source, counted in totals.items() if version_of(source) == version}


def _counted(previous: Mapping[str, Totals], current: Mapping[str, Totals], arm: str) -> dict[str, Counts]:
    """What each source of a version counted for an arm. One that comes to others began at zero."""
    return {
        source: totals[arm]
        if previous and source not in previous
        else difference(previous.get(source, {}).get(arm), totals[arm])
        for source, totals in current.items()
        if arm in totals
    }


def _sum(counted: Mapping[str, Counts]) -> Counts | None:
    first, *others = counted.values() or (None,)
    return first if first is None else sum(others, start=first)


def _restarted(previous: Counts, current: Counts) -> bool:
    before = (previous.requests, previous.failed, *previous.latency, *previous.scores)
    after = (current.requests, current.failed, *current.latency, *current.scores)
    return any(b > a for b, a in zip(before, after, strict=True))
