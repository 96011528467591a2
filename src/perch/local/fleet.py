"""The fleet of one machine: a serving process for each version."""

import asyncio
import contextlib
import sys
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import httpx

from perch.adapters.registry.port import ModelRegistry
from perch.adapters.registry.threads import in_registry_thread
from perch.errors import ModelError, PlatformError
from perch.local.processes import Child, free_port
from perch.settings.schema import Events

_READY_TIMEOUT_S = 60.0


class _Server(NamedTuple):
    child: Child
    port: int


class LocalFleet:
    """Starts, watches and stops the serving processes of one model.

    A process that dies is started again at the same port: until it is back, its arm answers nothing, which the rollout
    sees as such.
    """

    def __init__(
        self,
        model: str,
        registry: ModelRegistry,
        folder: Path,
        *,
        slo_latency_ms: float,
        collector_port: int,
        token_file: Path,
        events: Events | None = None,
        allow_faults: bool = False,
    ) -> None:
        self._model = model
        self._registry = registry
        self._folder = folder
        self._slo_latency_ms = slo_latency_ms
        self._collector_port = collector_port
        self._token_file = token_file
        self._events = events or Events()
        self._allow_faults = allow_faults
        self._servers: dict[int, _Server] = {}
        self._reviving: set[int] = set()
        self._starting: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._client = httpx.AsyncClient(timeout=2.0, trust_env=False)

    async def start(self, version: int) -> None:
        """Fetch a version's package, check it, serve it, and return when it answers."""
        async with self._starting[version]:
            if version not in self._servers:
                self._servers[version] = await self._serve(version)

    async def stop(self, version: int) -> None:
        """Let a version finish its requests and stop it."""
        server = self._servers.pop(version, None)
        if server is not None:
            await server.child.stop()

    async def eject(self, version: int, pod: str) -> None:
        """Refuse: there is nothing to eject. Raises `PlatformError`."""
        raise PlatformError(
            f"Version {version} is one process on this machine, so there is nothing to eject as {pod}; roll it back if "
            "it harms."
        )

    async def close(self) -> None:
        """Stop every version."""
        for version in list(self._servers):
            await self.stop(version)
        await self._client.aclose()

    async def revive(self) -> list[str]:
        """Start again what has ended; a sentence for each."""
        told = []
        for version, server in self._servers.items():
            if sentence := server.child.revive():
                self._reviving.add(version)
                told.append(sentence)
        for version in list(self._reviving):
            known = self._servers.get(version)
            if known is None or await self._ready(known.port):
                self._reviving.discard(version)
        return told

    def down(self) -> Collection[int]:
        """Versions whose process has ended, or was started again and does not answer yet."""
        ended = {version for version, server in self._servers.items() if server.child.exit_code is not None}
        return ended | self._reviving

    def endpoints(self) -> Mapping[int, str]:
        """Address of each version."""
        return {version: f"127.0.0.1:{server.port}" for version, server in self._servers.items()}

    async def _serve(self, version: int) -> _Server:
        port = free_port()
        command = await in_registry_thread(self._command, version, port)
        child = Child(f"The server of version {version}", command, self._folder / "log" / f"v{version}.log")
        try:
            await child.wait_ready(lambda: self._ready(port), timeout_s=_READY_TIMEOUT_S)
        except BaseException as error:  # also when the start is cancelled: nothing is left behind
            child.kill()
            if child.exit_code == ModelError.exit_code:
                raise ModelError(f"Version {version} of {self._model} is not served: {error}") from None
            raise
        return _Server(child, port)

    def _command(self, version: int, port: int) -> tuple[str, ...]:
        registered = self._registry.get(self._model, version)
        package = self._registry.fetch(self._model, version, self._folder / "models")
        return (
            *(sys.executable, "-m", "perch.serving"),
            *("--package", str(package), "--digest", registered.digest),
            *("--model", self._model, "--version", str(version), "--port", str(port)),
            *("--slo-latency-ms", str(self._slo_latency_ms)),
            *("--collector", f"http://127.0.0.1:{self._collector_port}"),
            *("--collector-token-file", str(self._token_file)),
            *("--journal", str(self._folder / "unsent" / f"v{version}")),
            *("--features-share", str(self._events.features_share)),
            *(("--user-column", self._events.user_column) if self._events.user_column else ()),
            *(("--allow-faults", "--token-file", str(self._token_file)) if self._allow_faults else ()),
        )

    async def _ready(self, port: int) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            answer = await self._client.get(f"http://127.0.0.1:{port}/v2/health/ready")
            return answer.status_code == httpx.codes.OK
        return False
