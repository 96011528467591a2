"""What is remembered of a service's inputs, and where: in a file, or in the object that declares it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from perch.core.codec import dumps, loads
from perch.core.inputs import State
from perch.errors import RolloutError

_NEW = State()


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a watch needs to go on after a restart, and what people are told."""

    state: State = _NEW
    sentence: str = "Nobody has looked yet."
    """What has moved, if anything."""


class DriftStore(Protocol):
    """Keeps what is remembered of one service."""

    async def load(self) -> Remembered:
        """Read it back; a fresh start where nothing was kept. Raises `RolloutError` when it is not what was saved."""
        ...

    async def save(self, remembered: Remembered) -> None:
        """Keep it, all or nothing; raises `OSError` or `PlatformError` when it is not kept."""
        ...


class DriftFile:
    """A `DriftStore` in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def load(self) -> Remembered:
        """See `DriftStore.load`."""
        if not self._path.exists():
            return Remembered()
        try:
            return loads(Remembered, self._path.read_text(encoding="utf-8"))
        except (RolloutError, UnicodeDecodeError) as error:
            raise RolloutError(
                f"{self._path} does not say which inputs drift: {error} Remove it; they are then looked at anew."
            ) from None

    async def save(self, remembered: Remembered) -> None:
        """See `DriftStore.save`."""
        draft = self._path.with_suffix(".tmp")
        draft.write_text(dumps(remembered), encoding="utf-8")
        draft.replace(self._path)
