"""A fleet that only remembers what it was asked to run: the twin for tests."""

from collections.abc import Collection, Mapping

from perch.errors import PlatformError


class MemoryFleet:
    """Runs nothing; every version but the `broken` ones comes up at once."""

    def __init__(self, broken: frozenset[int] = frozenset()) -> None:
        self._broken = broken
        self._running: dict[int, str] = {}
        self._down: set[int] = set()
        self.ejected: set[tuple[int, str]] = set()
        """Pods that were taken out, by version and name."""

    async def start(self, version: int) -> None:
        """Pretend that a version is warm."""
        if version in self._broken:
            raise PlatformError(f"Version {version} does not come up.")
        self._running.setdefault(version, f"127.0.0.1:{20_000 + version}")

    async def stop(self, version: int) -> None:
        """Forget a version."""
        self._running.pop(version, None)

    async def eject(self, version: int, pod: str) -> None:
        """Remember that a pod was taken out."""
        self.ejected.add((version, pod))

    def kill(self, version: int) -> None:
        """Let a version's process end; `revive` brings it back."""
        self._down.add(version)

    def revive(self, version: int) -> None:
        """Let a version answer again."""
        self._down.discard(version)

    def down(self) -> Collection[int]:
        """What was killed."""
        return self._down & self._running.keys()

    def endpoints(self) -> Mapping[int, str]:
        """Made-up addresses of what runs."""
        return dict(self._running)
