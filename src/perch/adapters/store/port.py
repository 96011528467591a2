"""What keeps something that has to outlive a process."""

from typing import Protocol, TypeVar

Kept = TypeVar("Kept")


class Store(Protocol[Kept]):
    """Keeps one thing of one service: in a file, or in the object that declares the service."""

    async def load(self) -> Kept | None:
        """Read it back; `None` when nothing was kept yet. Raises `RolloutError` when it is not what `save` wrote."""
        ...

    async def save(self, kept: Kept, /) -> None:
        """Keep it, all or nothing.

        Raises:
            OSError: there is no place for it.
            PlatformError: it is not kept, because the place does not answer, or another one keeps it now.
        """
        ...
