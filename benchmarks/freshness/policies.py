"""Ways to decide when to train: each is asked once an hour whether a run is to start."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from perch.core.freshness import confirmed, decide
from perch.core.freshness_types import Ended, Signals, State
from perch.core.policy import FreshnessPolicy
from perch.core.staleness import HOUR_S

_NEVER_CLICKS = 1e9
_NEVER_S = 31_536_000.0


class Chooser(Protocol):
    """One way to decide, in one market."""

    def wants(self, hour: int, signals: Signals) -> str | None:
        """Why a run is to start now; `None`: none is."""
        ...


@dataclass(frozen=True, slots=True)
class Schedule:
    """Each so many hours."""

    every_h: int | None
    """`None`: never."""

    def wants(self, hour: int, signals: Signals) -> str | None:
        """See `Chooser.wants`."""
        if self.every_h is None or hour == 0 or hour % self.every_h or signals.in_progress:
            return None
        return "scheduled"


class Perch:
    """The core's decision."""

    def __init__(self, policy: FreshnessPolicy) -> None:
        self._policy = policy
        self._state = State()

    def wants(self, hour: int, signals: Signals) -> str | None:
        """See `Chooser.wants`."""
        self._state, decision = decide(self._state, signals, self._policy, hour * HOUR_S)
        self._state = confirmed(self._state)
        return decision.sentence if decision.start else None


def ended(hour: int, *, succeeded: bool) -> Ended:
    """The end of a run that was started an hour ago."""
    return Ended(f"run-{hour}", succeeded, (hour - 1) * HOUR_S, hour * HOUR_S)


CHOOSERS: Mapping[str, Callable[[], Chooser]] = {
    "never": lambda: Schedule(None),
    "hourly": lambda: Schedule(1),
    "daily": lambda: Schedule(24),
    "alarms only": lambda: Perch(
        FreshnessPolicy(automatic=True, run_price_clicks=_NEVER_CLICKS, staleness_limit_s=_NEVER_S)
    ),
    "default": lambda: Perch(FreshnessPolicy(automatic=True)),
}
"""What is compared, by its name."""
