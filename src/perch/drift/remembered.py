"""What is remembered of a service's inputs."""

from dataclasses import dataclass
from pathlib import Path

from perch.adapters.store.file import FileStore
from perch.core.inputs import State

_NEW = State()


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a watch needs to go on after a restart, and what people are told."""

    state: State = _NEW
    sentence: str = "Nobody has looked yet."
    """What has moved, if anything."""


def drift_file(path: Path) -> FileStore[Remembered]:
    """Keeps it in a file."""
    return FileStore(path, Remembered, tells="which inputs drift", remedy="Remove it; they are then looked at anew.")
