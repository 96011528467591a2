"""Keeps it in a file."""

from pathlib import Path
from typing import Generic

from perch.adapters.store.port import Kept
from perch.core.codec import dumps, loads
from perch.errors import RolloutError


class FileStore(Generic[Kept]):
    """A `Store` in a file, which appears whole or not at all."""

    def __init__(self, path: Path, kind: type[Kept], *, tells: str, remedy: str) -> None:
        """Make a store; nothing is read or written yet.

        Args:
            path: The file.
            kind: Type of what is kept, a dataclass that `perch.core.codec` writes.
            tells: What the file tells, as in "where the service stands".
            remedy: What a person does about a file that does not tell it: a sentence.
        """
        self._path, self._kind = path, kind
        self._tells, self._remedy = tells, remedy

    async def load(self) -> Kept | None:
        """See `Store.load`."""
        if not self._path.exists():
            return None
        try:
            return loads(self._kind, self._path.read_text(encoding="utf-8"))
        except (RolloutError, UnicodeDecodeError) as error:
            raise RolloutError(f"{self._path} does not say {self._tells}: {error} {self._remedy}") from None

    async def save(self, kept: Kept, /) -> None:
        """See `Store.save`."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".tmp")
        draft.write_text(dumps(kept), encoding="utf-8")
        draft.replace(self._path)
