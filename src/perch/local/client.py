"""How commands reach a running platform, start one, and end one."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil

from perch.errors import PerchError, PlatformError
from perch.local.daemon import RECORD, Record, read_record

_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 20.0


class Control:
    """The control server of a running platform."""

    def __init__(self, record: Record, folder: Path) -> None:
        self.record = record
        token = (folder / "token").read_text(encoding="utf-8")
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{record.control_port}",
            headers={"Authorization": f"Bearer {token}"},
            timeout=90.0,  # a release waits until the version is warm
        )

    def status(self) -> dict[str, Any]:
        """Where the service stands."""
        return self._ask("GET", "/status")

    def release(self, declaration: str, *, override: bool) -> str:
        """Begin the rollout of the wanted version; returns its name."""
        return str(self._ask("POST", "/rollout", {"declaration": declaration, "override": override})["rollout"])

    def command(self, command: str) -> dict[str, Any]:
        """Pause, resume, promote or roll back."""
        return self._ask("POST", f"/rollout/{command}")

    def _ask(self, method: str, path: str, content: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            answer = self._client.request(method, path, json=content)
        except httpx.HTTPError as error:
            raise PlatformError(
                f"The platform does not answer: {error}. See its log, or start again: perch down, perch up."
            ) from None
        told: dict[str, Any] = answer.json()
        if answer.is_error:
            refusal = PerchError(told["error"])
            refusal.exit_code = told["exit_code"]
            raise refusal
        return told


def connect(folder: Path) -> Control:
    """The running platform of `folder`; raises `PlatformError` when none runs."""
    record = read_record(folder)
    if record is None or record.platform.find() is None:
        raise PlatformError("No platform is running here. Start one with `perch up`.")
    if record.control_port == 0:
        raise PlatformError("The platform is still starting. Try again in a few seconds.")
    return Control(record, folder)


def start(declaration: Path, folder: Path, options: list[str], progress: Callable[[str], None]) -> Record:
    """Start the platform as a process of its own and return when it serves.

    Raises:
        PlatformError: one runs already, or it does not come up; the message quotes its log.
    """
    record = read_record(folder)
    if record is not None and record.platform.find() is not None:
        raise PlatformError(f"A platform is running already at {record.route_url}. End it with `perch down`.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    log = folder / "log" / "platform.log"
    log.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "perch.local.daemon", "--declaration", str(declaration), "--folder", str(folder)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *options], stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    began = time.monotonic()
    while (record := read_record(folder)) is None or record.control_port == 0:
        waited_s = time.monotonic() - began
        if process.poll() is not None:
            raise _ended(process.returncode, log)
        if waited_s > _START_TIMEOUT_S:
            process.terminate()
            raise PlatformError(f"The platform was not ready within {_START_TIMEOUT_S:.0f} s. Its log is {log}.")
        progress(f"waiting for Envoy, the collector and the versions: {waited_s:.0f} s")
        time.sleep(0.2)
    return record


def stop(folder: Path) -> bool:
    """End the platform and everything it started, also after a crash; says whether there was anything to end."""
    record = read_record(folder)
    if record is None:
        return False
    family = [process for known in (record.platform, *record.children) if (process := known.find()) is not None]
    platform = record.platform.find()
    if platform is not None:
        platform.terminate()
        psutil.wait_procs([platform], timeout=_STOP_TIMEOUT_S)
    for process in psutil.wait_procs(family, timeout=1.0)[1]:
        process.kill()
    psutil.wait_procs(family, timeout=5.0)
    (folder / RECORD).unlink(missing_ok=True)
    return bool(family)


def _ended(exit_code: int, log: Path) -> PerchError:
    said = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    error = PerchError(f"The platform did not start. {said[-1][9:] if said else 'It said nothing.'} (log: {log})")
    error.exit_code = exit_code if exit_code > 0 else PlatformError.exit_code
    return error
