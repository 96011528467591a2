"""What Perch asks of whatever runs the versions: processes on one machine, InferenceServices in a cluster."""

from collections.abc import Collection, Mapping
from typing import Protocol


class Fleet(Protocol):
    """Runs versions of one model, each at an address of its own."""

    async def start(self, version: int) -> None:
        """Run a version and return when it is warm: loaded, digest checked, and answering.

        A version that runs already is left alone. Raises `ModelError` when its package is corrupt and
        `PlatformError` when it does not come up.
        """
        ...

    async def stop(self, version: int) -> None:
        """Let a version finish its requests and stop it. A version that does not run is left alone."""
        ...

    async def eject(self, version: int, pod: str) -> None:
        """Take a pod out of a version, for another to take its place; again changes nothing.

        Raises `PlatformError` where a version has no pods that could be taken out; it says what to do instead.
        """
        ...

    def down(self) -> Collection[int]:
        """Versions that should run and whose process has ended; until it answers again, nobody does."""
        ...

    def endpoints(self) -> Mapping[int, str]:
        """Address (`host:port`) of each version that runs."""
        ...
