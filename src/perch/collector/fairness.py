"""Looks now and then at how groups of people fare: it takes up to a second, in which no event is stored."""

import logging
from collections.abc import Callable
from typing import Final

from perch.adapters.events.engine import StoreError
from perch.adapters.events.store import EventStore
from perch.signals.fairness import WINDOW_S, Gap, largest_gaps

LOOK_INTERVAL_S: Final = 60.0

_log = logging.getLogger(__name__)


class GapWatch:
    """Remembers the largest gaps of the last look. One thread at a time."""

    def __init__(self, store: EventStore, clock: Callable[[], float]) -> None:
        """Watch a store, with a clock in seconds since the epoch; the caller says when to look."""
        self._store, self._clock = store, clock
        self._is_failing = False
        self.gaps: list[Gap] = []
        """None until the first look, and while the store cannot tell."""

    def look(self) -> None:
        """Have the gaps of the last day. When the store fails the log is told once, until it does not."""
        try:
            self.gaps = largest_gaps(self._store.fairness_since(self._clock() - WINDOW_S))
            self._is_failing = False
        except StoreError as error:
            self.gaps = []
            if not self._is_failing:
                _log.error("%s: the gaps between groups of people are not told until it answers again.", error)
            self._is_failing = True
