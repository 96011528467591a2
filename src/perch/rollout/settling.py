"""Has the registry follow the record: roles and quarantine, beside the ticks.

A registry may refuse, or hang, for as long as it likes: no tick waits for it, and traffic moves meanwhile.
"""

import asyncio
from collections.abc import Callable

from perch.adapters.registry.port import ModelRegistry
from perch.adapters.registry.threads import in_registry_thread
from perch.errors import RegistryError
from perch.rollout.attempt import Attempt
from perch.rollout.roles import write_roles

_PATIENCE_S = 5.0
"""How long somebody waits who has to know whether the registry follows."""


class Settling:
    """Writes what follows from a rollout's record into the registry, one write at a time."""

    def __init__(self, registry: ModelRegistry, model: str, notify: Callable[[str], None]) -> None:
        self._registry = registry
        self._model = model
        self._notify = notify
        self._taken: tuple[object, ...] | None = None
        self._writing: asyncio.Task[None] | None = None

    def has_taken(self, attempt: Attempt) -> bool:
        """Whether the registry is known to say what follows from `attempt`."""
        return self._taken == _consequences(attempt)

    def follow(self, attempt: Attempt | None) -> None:
        """Begin to write what follows from an attempt, unless it is written or a write is still under way.

        What the registry refuses is told, and written by a later call. Raises what else went wrong in the last write.
        """
        writing = self._writing
        if writing is not None and writing.done():
            self._writing = None
            writing.result()
        if attempt is not None and self._writing is None and not self.has_taken(attempt):
            self._writing = asyncio.create_task(self._write(attempt))

    async def finish(self) -> None:
        """Wait for a write that is under way, some seconds at most."""
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=_PATIENCE_S)

    async def settle(self, attempt: Attempt | None) -> None:
        """Follow an attempt and wait until it is written or refused, some seconds at most: `has_taken` tells."""
        await self.finish()  # which may be of an earlier time
        self.follow(attempt)
        await self.finish()

    async def close(self) -> None:
        """Wait for a write that is under way, some seconds at most: what is cut off is written at the next start."""
        await self.finish()
        if self._writing is not None:
            self._writing.cancel()

    async def _write(self, attempt: Attempt) -> None:
        try:
            await in_registry_thread(write_roles, self._registry, self._model, attempt)
        except RegistryError as error:
            self._notify(f"The registry does not take the roles; the next tick tries again. {error}")
        else:
            self._taken = _consequences(attempt)


def _consequences(attempt: Attempt) -> tuple[object, ...]:
    """What tells apart attempts from which something else follows."""
    return attempt.name, attempt.entitled, attempt.done
