"""What speaks against a release: its version came home for cause, or the service has been coming home too often.

A service whose canaries come home one after the other has a fault that no further release mends: something that feeds
or starts them, or whatever keeps releasing. Each attempt costs a few bad responses, so after some the service rests.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from perch.adapters.registry.port import ModelVersion
from perch.core import Policy
from perch.rollout.history import Summary


def objections(wanted: ModelVersion, past: Iterable[Summary], policy: Policy, now_s: float) -> list[str]:
    """What speaks against releasing `wanted` now, a sentence each; a person may insist."""
    quarantine = wanted.quarantine and f"Version {wanted.version} is in quarantine: {wanted.quarantine}"
    return list(filter(None, (quarantine, repeated_rollbacks(past, policy, now_s))))


def repeated_rollbacks(past: Iterable[Summary], policy: Policy, now_s: float) -> str | None:
    """Why the service takes no release now, in a sentence; `None` when it takes one.

    Args:
        past: The rollouts that are recorded, in any order.
        policy: Says how many rollbacks within which time are too many.
        now_s: Seconds since the epoch.
    """
    home = sorted((one for one in past if one.came_home), key=lambda one: one.last_s)
    recent = [one for one in home if now_s < one.last_s + policy.rollback_window_s]
    if len(recent) < policy.rollback_limit:
        return None
    free_s = recent[-policy.rollback_limit].last_s + policy.rollback_window_s
    times = "once" if len(recent) == 1 else f"{len(recent)} times"
    return (
        f"Rollouts of this service came home {times} since {_at(recent[0].last_s)}"
        f" ({', '.join(one.name for one in recent)}); its policy stops at {policy.rollback_limit} within"
        f" {policy.rollback_window_s:,.0f} s, so it takes no release until {_at(free_s)}."
    )


def _at(time_s: float) -> str:
    return f"{datetime.fromtimestamp(time_s, tz=UTC):%Y-%m-%d %H:%M:%S} UTC"
