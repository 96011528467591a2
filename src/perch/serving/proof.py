"""Proves what a packaged model takes to answer: `python -m perch.serving.proof --package DIR --requests FILE ...`.

The package is served by the very process that will serve it in production, on a free port of the loopback interface,
and one client sends it one request after the other. So nothing waits in a queue: this is what the model itself takes,
with parsing and transport. How it bears many clients is the load test's business.
"""

import argparse
import http.client
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from perch.errors import UsageError, told_in_a_sentence
from perch.workload.latency import LatencyProof, to_json
from perch.workload.package import package_digest

READY_S = 120.0
"""Longest that a server may take to come up, in seconds."""

SILENCE_S = 10.0
"""A server that leaves a request unanswered for so long, in seconds, has hung."""

_WARM_UP_REQUESTS = 20
_PARTS = 5
_LOOPBACK = "127.0.0.1"
_JSON = {"content-type": "application/json"}


class _CannotServeError(Exception):
    """The package cannot be served."""


def prove(package: Path, requests: Sequence[bytes], *, seconds: float, ready_s: float = READY_S) -> LatencyProof:
    """Serve a package, ask it for so many seconds, and stop it.

    That a server does not come up, ends, hangs or answers no request is the package's fault; the proof tells it.

    Args:
        package: Folder of the packaged model.
        requests: Bodies of `POST /rank`, sent in turn, again and again.
        seconds: How long they are sent, in seconds, after a short warm-up.
        ready_s: How long the server may take to come up, in seconds.

    Raises:
        UsageError: There is no request.
        ModelError: The folder holds no package.
    """
    if not requests:
        raise UsageError("there is no request to be sent: give a file with one body of /rank a line")
    digest = package_digest(package)
    try:
        return _measured(package, digest, requests, seconds, ready_s)
    except _CannotServeError as trouble:
        return LatencyProof(digest, trouble=str(trouble))


def _measured(package: Path, digest: str, requests: Sequence[bytes], seconds: float, ready_s: float) -> LatencyProof:
    with _served(package, digest, ready_s) as server:
        for body in islice(cycle(requests), _WARM_UP_REQUESTS):
            server.ask(body)
        latencies_ms, failures = _closed_loop(server, requests, seconds)
        peak_rss_bytes = server.peak_rss_bytes()
    if not latencies_ms:
        raise _CannotServeError(f"its server answered none of {failures} requests")
    p50_ms, p90_ms, p99_ms, max_ms = (float(one) for one in np.quantile(latencies_ms, (0.5, 0.9, 0.99, 1)))
    quiet_p99_ms = min(float(np.quantile(part, 0.99)) for part in np.array_split(latencies_ms, _PARTS) if len(part))
    sent = len(latencies_ms) + failures
    return LatencyProof(digest, sent, failures, p50_ms, p90_ms, p99_ms, max_ms, quiet_p99_ms, peak_rss_bytes)


def _closed_loop(server: "_Server", requests: Sequence[bytes], seconds: float) -> tuple[list[float], int]:
    """Latencies of the answers, in milliseconds, and how many requests failed."""
    latencies_ms: list[float] = []
    failures = 0
    end_s = time.perf_counter() + seconds
    for body in cycle(requests):
        start_s = time.perf_counter()
        if start_s >= end_s:
            break
        if server.ask(body) == HTTPStatus.OK:
            latencies_ms.append((time.perf_counter() - start_s) * 1_000)
        else:
            failures += 1
    return latencies_ms, failures


class _Server:
    """The serving process of a package, and the one connection to it."""

    def __init__(self, package: Path, digest: str, log: Path) -> None:
        port = _free_port()
        options = {"package": package, "digest": digest, "model": "proof", "version": 1, "slo-latency-ms": 100}
        told = [f"--{name}={value}" for name, value in options.items()]
        command = [sys.executable, "-m", "perch.serving", f"--port={port}", *told]
        self._log = log
        self._connection = http.client.HTTPConnection(_LOOPBACK, port, timeout=SILENCE_S)
        with log.open("wb") as output:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def wait_ready(self, within_s: float) -> None:
        """Wait until the server answers; raises `_CannotServeError` when it ends first, or the time is over."""
        deadline_s = time.monotonic() + within_s
        while not self._is_ready():
            if time.monotonic() > deadline_s:
                raise _CannotServeError(f"its server was not ready within {within_s:g} s: {self._last_words()}")
            time.sleep(0.05)

    def ask(self, body: bytes) -> int:
        """Send one request; gives the status of its answer. Raises `_CannotServeError` when there is no answer."""
        try:
            return self._exchange("POST", "/rank", body)
        except TimeoutError:
            raise _CannotServeError(f"its server left a request unanswered for {SILENCE_S:g} s: it hangs") from None
        except (OSError, http.client.HTTPException) as error:
            raise _CannotServeError(f"its server broke a request off ({error}): {self._last_words()}") from None

    def peak_rss_bytes(self) -> int | None:
        """Most memory that the process has held; `None` where the system does not tell."""
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        except OSError:
            return None
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))

    def stop(self) -> None:
        """End the process at once: it holds nothing that must be saved."""
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _is_ready(self) -> bool:
        if self._process.poll() is not None:
            raise _CannotServeError(f"its server ended with exit code {self._process.returncode}: {self._last_words()}")
        try:
            return self._exchange("GET", "/v2/health/ready") == HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False

    def _exchange(self, method: str, path: str, body: bytes | None = None) -> int:
        try:
            self._connection.request(method, path, body, _JSON)
            response = self._connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()  # the next request opens another one
            raise
        return response.status

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


@contextmanager
def _served(package: Path, digest: str, ready_s: float) -> Iterator[_Server]:
    with tempfile.TemporaryDirectory() as scratch:
        server = _Server(package, digest, Path(scratch) / "log")
        try:
            server.wait_ready(ready_s)
            yield server
        finally:
            server.stop()


def _free_port() -> int:
    with socket.create_server((_LOOPBACK, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def main(arguments: list[str] | None = None) -> None:
    """Prove what the options name, and write the proof; after an error there is no file.

    Raises:
        UsageError: The requests cannot be read, or there is none.
        PerchError: As `prove` raises.
    """
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the server ends with us
    try:
        requests = [line for line in options.requests.read_bytes().splitlines() if line]
    except OSError as error:
        raise UsageError(f"{options.requests} cannot be read ({error.strerror}): give --requests a file") from None
    proof = prove(options.package, requests, seconds=options.seconds)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    beside = options.out.with_name(f".{options.out.name}.partial")
    beside.write_text(to_json(proof), encoding="utf-8")
    beside.replace(options.out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m perch.serving.proof", description="Proves what a packaged model takes to answer."
    )
    parser.add_argument("--package", type=Path, required=True, help="folder of the packaged model")
    parser.add_argument("--requests", type=Path, required=True, help="file with one body of /rank a line")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long requests are sent")
    parser.add_argument("--out", type=Path, required=True, help="file that the proof is written to, as JSON")
    return parser


if __name__ == "__main__":
    with told_in_a_sentence():
        main()
