"""A twin in memory: runs end when a test or a simulation says so."""

from perch.core.freshness_types import Ended
from perch.errors import PlatformError


class MemoryTrainings:
    """Implements `Trainings` over what it was told."""

    def __init__(self) -> None:
        self.started: dict[str, str] = {}
        """Reasons of all runs, by name, in the order in which they were started."""

        self.is_away = False
        """Whether nobody answers."""

        self._running: str | None = None
        self._last: Ended | None = None

    async def start(self, name: str, reason: str) -> None:
        """See `Trainings.start`."""
        self._check()
        if name not in self.started:
            self.started[name], self._running = reason, name

    async def in_progress(self) -> str | None:
        """See `Trainings.in_progress`."""
        self._check()
        return self._running

    async def last(self) -> Ended | None:
        """See `Trainings.last`."""
        self._check()
        return self._last

    def end(self, *, succeeded: bool, began_s: float, ended_s: float, message: str = "") -> None:
        """Let the run that is in progress end."""
        assert self._running is not None, "a run is in progress"
        self._last = Ended(self._running, succeeded, began_s, ended_s, message)
        self._running = None

    def _check(self) -> None:
        if self.is_away:
            raise PlatformError("Nobody trains here now.")
