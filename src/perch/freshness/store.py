"""What is remembered of a service's freshness, and where: in a file, or in the object that declares it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from perch.core.codec import dumps, loads
from perch.core.freshness_types import State
from perch.errors import RolloutError

_NEW = State()


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a watch needs to go on after a restart."""

    state: State = _NEW
    matured_s: float = 0.0
    """Time of the last request whose label has been taken in, in seconds since the epoch."""

    due_s: float = 0.0
    """When the next run is due by age alone."""

    in_progress: str | None = None
    """Name of the run or rollout in progress."""


class FreshnessStore(Protocol):
    """Keeps what is remembered of one service."""

    async def load(self) -> Remembered:
        """Read it back; a fresh start where nothing was kept. Raises `RolloutError` when it is not what was saved."""
        ...

    async def save(self, remembered: Remembered) -> None:
        """Keep it, all or nothing; raises `OSError` or `PlatformError` when it is not kept."""
        ...


class FreshnessFile:
    """A `FreshnessStore` in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def load(self) -> Remembered:
        """See `FreshnessStore.load`."""
        if not self._path.exists():
            return Remembered()
        try:
            return loads(Remembered, self._path.read_text(encoding="utf-8"))
        except (RolloutError, UnicodeDecodeError) as error:
            raise RolloutError(
                f"{self._path} does not say how fresh the model is: {error} Remove it; age is then counted anew."
            ) from None

    async def save(self, remembered: Remembered) -> None:
        """See `FreshnessStore.save`."""
        draft = self._path.with_suffix(".tmp")
        draft.write_text(dumps(remembered), encoding="utf-8")
        draft.replace(self._path)
