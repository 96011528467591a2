"""What is remembered of a service's freshness."""

from dataclasses import dataclass
from pathlib import Path

from perch.adapters.store.file import FileStore
from perch.core.freshness_types import State

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


def freshness_file(path: Path) -> FileStore[Remembered]:
    """Keeps it in a file."""
    return FileStore(path, Remembered, tells="how fresh the model is", remedy="Remove it; age is then counted anew.")
