"""Child processes that never outlive their parent.

ORPHANS

A platform that crashes must leave nothing behind. On Linux the kernel sends each child a signal when its parent dies
(`PR_SET_PDEATHSIG`), whatever the parent died of. Elsewhere, and for a second look, the platform writes down the
process ids with their start times, and `perch down` ends those that are still there.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from perch.errors import PlatformError

_RESTART_PAUSE_S = 1.0

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """What a child does before it begins: it lets the kernel end it when its parent ends, whatever of."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process that cannot be mistaken for a later one with the same number."""

    pid: int
    started_s: float

    @classmethod
    def of(cls, pid: int) -> "ProcessId":
        """The identity of a running process; raises `psutil.NoSuchProcess`."""
        return cls(pid, psutil.Process(pid).create_time())

    def find(self) -> psutil.Process | None:
        """The process, or `None` when it has ended."""
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started_s) < 1  # clocks differ by ticks of the kernel
            if same and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


class Child:
    """One child process, its log file and its end."""

    def __init__(self, name: str, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        """Start `command`, with its output appended to `log`."""
        self.name = name
        self.log = log
        self._command = command
        self._env = {**os.environ, **(env or {})}
        log.parent.mkdir(parents=True, exist_ok=True)
        self._launch()

    def _launch(self) -> None:
        self._launched_s = time.monotonic()
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._env,
                preexec_fn=die_with_parent,  # noqa: PLW1509  only one system call, no locks
            )

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How the process ended; `None` while it runs."""
        return self._process.poll()

    async def wait_ready(self, ready: Callable[[], Awaitable[bool]], *, timeout_s: float) -> None:
        """Wait until `ready()`.

        Raises:
            PlatformError: the process ended first, or the time is over; the message quotes the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        while not await ready():
            if self.exit_code is not None:
                raise PlatformError(f"{self.name} {_how_it_ended(self.exit_code)}: {self.last_words()}")
            if time.monotonic() > deadline:
                raise PlatformError(f"{self.name} was not ready within {timeout_s:g} s. Its log is {self.log}.")
            await asyncio.sleep(0.05)

    def revive(self) -> str | None:
        """Start the process again when it has ended, at most once a second; a sentence that says so, or `None`."""
        exit_code = self.exit_code
        if exit_code is None or time.monotonic() - self._launched_s < _RESTART_PAUSE_S:
            return None
        self._launch()
        return f"{self.name} {_how_it_ended(exit_code)} and is started again."

    def last_words(self) -> str:
        """The last line of the log that says something."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        said = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        return f"{said} (log: {self.log})"

    async def stop(self, *, grace_s: float = 8.0) -> None:
        """Ask the process to end, wait for it, and end it when it does not."""
        if self.exit_code is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._process.wait, grace_s)
        self.kill()

    def kill(self) -> None:
        """End the process at once."""
        if self.exit_code is None:
            self._process.kill()
            self._process.wait()


def _how_it_ended(exit_code: int) -> str:
    return f"was ended by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"ended with exit code {exit_code}"


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def check_port_free(port: int, purpose: str, setting: str) -> None:
    """Raise `PlatformError` when somebody listens on `port` already; `setting` is where another can be named."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PlatformError(
                f"Port {port} for {purpose} cannot be had: {error.strerror}. End what listens there "
                f"(`ss -ltnp 'sport = :{port}'` names it), or name another port with {setting}."
            ) from None
