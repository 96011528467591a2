"""Which versions run: what is needed is brought up when a service opens, what nothing needs is stopped."""

import asyncio
from collections.abc import Callable, Collection

from perch.adapters.fleet.port import Fleet
from perch.errors import PerchError, PlatformError

_DRAIN_S = 2.0
"""Between a version's last weight and the end of its process: the router applies the change, requests in flight end."""


class Running:
    """The running versions of a service."""

    def __init__(self, fleet: Fleet, notify: Callable[[str], None]) -> None:
        self._fleet = fleet
        self._notify = notify
        self._returning: tuple[int, asyncio.Task[None]] | None = None
        self._stopping: dict[int, asyncio.Task[None]] = {}

    async def open(self, safe: Collection[int], canary: int | None) -> None:
        """Bring up the versions that a service cannot do without, and have a canary in mid-rollout come up beside.

        Whether the canary comes up is for the rollout to judge, so nobody waits for it. Raises as `Fleet.start` does
        for the others; no start goes on then.
        """
        if canary is not None and canary not in safe:
            self._returning = canary, asyncio.create_task(self._bring_back(canary))
        try:
            await self._start(safe)
        except BaseException:
            await self._call_off()
            raise

    def is_returning(self, version: int) -> bool:
        """Whether a version is still on its way up after the service was opened."""
        return self._returning is not None and self._returning[0] == version and not self._returning[1].done()

    def is_down(self, version: int) -> bool:
        """Whether nothing runs that could answer as a version."""
        return version in self._fleet.down() or version not in self._fleet.endpoints()

    def stop_others(self, needed: Callable[[], Collection[int]]) -> None:
        """Begin to stop what is not needed; what fails is told, and tried again by a later call."""
        if self._returning is not None and self._returning[0] not in needed():
            self._returning[1].cancel()
        for version in set(self._fleet.endpoints()) - set(needed()) - self._stopping.keys():
            self._stopping[version] = asyncio.create_task(self._stop(version, needed))

    async def close(self) -> None:
        """Wait for the versions that are being stopped."""
        await self._call_off()
        await asyncio.gather(*self._stopping.values())

    async def _start(self, versions: Collection[int]) -> None:
        try:
            async with asyncio.TaskGroup() as starting:
                for version in sorted(versions):
                    starting.create_task(self._fleet.start(version))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _bring_back(self, canary: int) -> None:
        try:
            await self._fleet.start(canary)
        except PerchError as error:
            self._notify(f"The canary does not come up again, and is judged as one that is down. {error}")

    async def _call_off(self) -> None:
        if self._returning is not None:
            self._returning[1].cancel()
            await asyncio.wait({self._returning[1]})

    async def _stop(self, version: int, needed: Callable[[], Collection[int]]) -> None:
        try:
            await asyncio.sleep(_DRAIN_S)
            if version not in needed():
                await self._fleet.stop(version)
        except PlatformError as error:
            self._notify(f"Version {version} was not stopped; the next tick tries again. {error}")
        finally:
            del self._stopping[version]
