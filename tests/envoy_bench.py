"""A real Envoy in front of small counting backends, for the tests that send requests through it."""

import asyncio
import socket
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web

from perch.adapters.traffic.envoy import EnvoyFileRouter, bootstrap, command, ready
from perch.signals.names import ARM_HEADER

SERVICE = "ctr"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Backend:
    """Answers every request with its own name after `delay_s`, and remembers the headers and path of each."""

    def __init__(self, name: str, *, status: int = 200, delay_s: float = 0.0) -> None:
        self.name, self.status, self.delay_s = name, status, delay_s
        self.requests: list[tuple[str, dict[str, str]]] = []

    @property
    def arms(self) -> Counter:
        """Requests by the arm in the header; copies, which Envoy marks in the Host, as `shadow`."""
        return Counter("shadow" if "-shadow" in h["host"] else h.get(ARM_HEADER) for _, h in self.requests)

    async def answer(self, request: web.BaseRequest) -> web.Response:
        await request.read()
        self.requests.append((request.path, {key.lower(): value for key, value in request.headers.items()}))
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        return web.Response(text=self.name, status=self.status)


@asynccontextmanager
async def served(*backends: Backend) -> AsyncIterator[list[str]]:
    """Serve the backends and give their `host:port`."""
    runners = []
    for backend in backends:
        runner = web.ServerRunner(web.Server(backend.answer), shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        runners.append(runner)
    try:
        yield [f"127.0.0.1:{runner.addresses[0][1]}" for runner in runners]
    finally:
        for runner in runners:
            await runner.cleanup()


class Envoy:
    """A running Envoy, its router, and clients of its route."""

    def __init__(self, folder: Path, feedback: str | None = None, service: str = SERVICE) -> None:
        self.route_port, self.admin_port = free_port(), free_port()
        bootstrap(folder, service=service, route_port=self.route_port, admin_port=self.admin_port, feedback=feedback)
        self.router = EnvoyFileRouter(folder)
        self._folder = folder
        self.start()

    def start(self) -> None:
        log = self._folder / "envoy.log"
        with log.open("wb") as sink:
            self.process = subprocess.Popen(command(self._folder), stderr=sink, stdout=sink)
        deadline = time.monotonic() + 20
        while not ready(self.admin_port):
            assert self.process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=10)

    def client(self) -> ClientSession:
        return ClientSession(
            f"http://127.0.0.1:{self.route_port}",
            timeout=ClientTimeout(total=8),
            connector=TCPConnector(limit=0),
        )

    async def load(self, *, rps: float, until: Callable[[], bool]) -> tuple[Counter, int]:
        """Send requests at a steady rate until `until()`: answers by backend's name, and how many were lost."""
        answers: Counter = Counter()
        lost = 0

        async def one(session: ClientSession) -> None:
            nonlocal lost
            with suppress(ClientError, asyncio.TimeoutError):
                async with session.post("/rank", data=b"{}") as response:
                    if response.status == 200:
                        answers[await response.text()] += 1
                        return
            lost += 1

        async with self.client() as session, asyncio.TaskGroup() as group:
            start, sent = time.perf_counter(), 0
            while not until():
                group.create_task(one(session))
                sent += 1
                await asyncio.sleep(start + sent / rps - time.perf_counter())
        return answers, lost
