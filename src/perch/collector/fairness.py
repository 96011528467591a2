"""Looks now and then at how groups of people fare: it takes half a second, in which no event is stored."""

from collections.abc import Callable
from typing import Final

from perch.adapters.events.store import EventStore
from perch.signals.fairness import WINDOW_S, Gap, largest_gaps

_INTERVAL_S: Final = 60.0


class GapWatch:
    """Remembers the largest gaps for a minute. One thread at a time."""

    def __init__(self, store: EventStore, clock: Callable[[], float]) -> None:
        """Watch a store, with a clock in seconds since the epoch."""
        self._store, self._clock = store, clock
        self._looked_s = float("-inf")
        self._gaps: list[Gap] = []

    def gaps(self) -> list[Gap]:
        """The gaps of the last day, which are at most a minute old; raises `StoreError` when the store fails."""
        now_s = self._clock()
        if not 0.0 <= now_s - self._looked_s < _INTERVAL_S:
            self._gaps = largest_gaps(self._store.fairness_since(now_s - WINDOW_S))
            self._looked_s = now_s
        return self._gaps
