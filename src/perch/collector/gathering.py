"""Writes what several requests brought in one transaction.

A commit waits for the disk, and while it does more requests come. What they brought goes into the next transaction
together, so that a thousand applications that tell one outcome each cost few commits. Each request is acknowledged when
its own events are committed. Where a transaction fails, each is tried by itself: nobody pays for what another one sent.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import Final, Generic, TypeAlias, TypeVar

from perch.adapters.events.engine import StoreError, StoreFullError
from perch.adapters.events.parking import Parked

_MOST_EVENTS: Final = 4_000

_Event = TypeVar("_Event")
_Write: TypeAlias = Callable[[Sequence[_Event], Sequence[Parked]], None]


class Gathering(Generic[_Event]):
    """Gathers events of one kind."""

    def __init__(self, write: _Write[_Event], in_thread: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
        """Make one.

        Args:
            write: Writes events, and those to be parked, in one transaction; blocks.
            in_thread: Runs what blocks.
        """
        self._write = write
        self._in_thread = in_thread
        self._waiting: list[tuple[Sequence[_Event], Sequence[Parked], asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def add(self, events: Sequence[_Event], parked: Sequence[Parked]) -> None:
        """Returns when the events are committed; raises `StoreError` when they are not, and nothing of them is kept."""
        committed = asyncio.get_running_loop().create_future()
        self._waiting.append((events, parked, committed))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all())
        await committed

    async def _write_all(self) -> None:
        while self._waiting:
            group = self._waiting[:1]
            while len(group) < len(self._waiting) and _size(group) < _MOST_EVENTS:
                group.append(self._waiting[len(group)])
            del self._waiting[: len(group)]
            await self._write_group(group)

    async def _write_group(
        self, group: Sequence[tuple[Sequence[_Event], Sequence[Parked], asyncio.Future[None]]]
    ) -> None:
        events = list(chain.from_iterable(one for one, _, _ in group))
        parked = list(chain.from_iterable(one for _, one, _ in group))
        try:
            await self._in_thread(lambda: self._write(events, parked))
        except StoreError as error:
            if len(group) > 1 and not isinstance(error, StoreFullError):
                for one in group:
                    await self._write_group([one])
                return
            _settle(group, error)
        except BaseException as error:
            _settle(group, error)
            raise
        else:
            _settle(group, None)


def _size(group: Sequence[tuple[Sequence[object], Sequence[Parked], object]]) -> int:
    return sum(len(events) + len(parked) for events, parked, _ in group)


def _settle(
    group: Sequence[tuple[Sequence[object], Sequence[Parked], "asyncio.Future[None]"]], error: BaseException | None
) -> None:
    for _, _, committed in group:
        if committed.done():  # whoever waited has gone
            continue
        if error is None:
            committed.set_result(None)
        else:
            committed.set_exception(error)
