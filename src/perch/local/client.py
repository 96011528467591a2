"""How commands reach a running platform, start one, and end one."""

import contextlib
import fcntl
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil

from perch.core.codec import loads
from perch.drift.remembered import Remembered as Drift
from perch.errors import PerchError, PlatformError
from perch.freshness.remembered import Remembered
from perch.local.daemon import RECORD, Record, read_record

_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 20.0
_CLOCK = re.compile(r"^\d\d:\d\d:\d\d ")


class Control:
    """The control server of a running platform."""

    def __init__(self, record: Record, folder: Path) -> None:
        self.record = record
        token = (folder / "token").read_text(encoding="utf-8")
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{record.control_port}",
            headers={"Authorization": f"Bearer {token}"},
            timeout=90.0,  # a release waits until the version is warm
            trust_env=False,
        )

    def status(self) -> dict[str, Any]:
        """Where the service stands."""
        return self._ask("GET", "/status")

    def release(self, declaration: str, *, override: bool) -> str:
        """Begin the rollout of the wanted version; returns its name."""
        return str(self._ask("POST", "/rollout", {"declaration": declaration, "override": override})["rollout"])

    def retry(self, declaration: str, *, override: bool) -> tuple[str, str]:
        """Begin the last rollout that did not end in promotion again; returns the new name and the old one."""
        told = self._ask("POST", "/rollout/retry", {"declaration": declaration, "override": override})
        return str(told["rollout"]), str(told["retry_of"])

    def command(self, command: str) -> dict[str, Any]:
        """Pause, resume, promote or roll back."""
        return self._ask("POST", f"/rollout/{command}")

    def freshness(self) -> Remembered:
        """How fresh the model is."""
        return loads(Remembered, json.dumps(self._ask("GET", "/freshness")))

    def drift(self) -> Drift:
        """How the inputs stand."""
        return loads(Drift, json.dumps(self._ask("GET", "/drift")))

    def retrain(self, *, override: bool) -> str:
        """Ask for a run; returns what was decided. Raises `RolloutError` when it is refused."""
        return str(self._ask("POST", "/retrain", {"override": override})["sentence"])

    def _ask(self, method: str, path: str, content: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            answer = self._client.request(method, path, json=content)
            told: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise PlatformError(
                f"The platform does not answer: {error}. See its log, or start again: perch down, perch up."
            ) from None
        if answer.is_error:
            refusal = PerchError(told["error"])
            refusal.exit_code = told["exit_code"]
            raise refusal
        return told


def connect(folder: Path) -> Control:
    """The running platform of `folder`; raises `PlatformError` when none runs."""
    record = read_record(folder)
    if record is None:
        raise PlatformError("No platform is running here. Start one with `perch up`.")
    if record.platform.find() is None:
        raise PlatformError(
            f"The platform that ran here has died. Start it again with `perch up`: it goes on where it was. The last "
            f"line of its log: {_last_words(_log(folder))}"
        )
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
    log = _log(folder)
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "perch.local.daemon", "--declaration", str(declaration), "--folder", str(folder)]
    with _claim(folder) as claim, log.open("ab") as output:
        stop(folder)  # what one that died has left behind
        said_before = output.tell()
        process = subprocess.Popen(
            [*command, *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=[claim],
        )
        try:
            return _wait_until_it_serves(process, folder, said_before, progress)
        except BaseException:  # also Ctrl-C: half a platform is of no use
            process.terminate()
            process.wait()
            raise


def _wait_until_it_serves(
    process: subprocess.Popen[bytes], folder: Path, said_before: int, progress: Callable[[str], None]
) -> Record:
    began = time.monotonic()
    while (record := read_record(folder)) is None or record.control_port == 0:
        waited_s = time.monotonic() - began
        if process.poll() is not None:
            raise _ended(process.returncode, _last_words(_log(folder), said_before))
        if waited_s > _START_TIMEOUT_S:
            raise PlatformError(
                f"The platform was not ready within {_START_TIMEOUT_S:.0f} s. Its log is {_log(folder)}."
            )
        progress(f"waiting for Envoy, the collector and the versions: {waited_s:.0f} s")
        time.sleep(0.2)
    return record


@contextlib.contextmanager
def _claim(folder: Path) -> Iterator[int]:
    """Keep others from starting a platform in `folder`; whoever inherits the claim holds it until it ends."""
    with (folder / "claim").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PlatformError(f"A platform is being started or ended in {folder}. Wait for it.") from None
        yield file.fileno()


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


def _log(folder: Path) -> Path:
    return folder / "log" / "platform.log"


def _last_words(log: Path, said_before: int = 0) -> str:
    """The last line that a platform wrote, after the first `said_before` bytes of its log."""
    with contextlib.suppress(FileNotFoundError):
        lines = log.read_bytes()[said_before:].decode(errors="replace").splitlines()
        said = next((line for line in reversed(lines) if line.strip()), "It said nothing.")
        return f"{re.sub(_CLOCK, '', said)} (log: {log})"
    return f"Its log, {log}, is gone."


def _ended(exit_code: int, last_words: str) -> PerchError:
    error = PerchError(f"The platform did not start. {last_words}")
    error.exit_code = exit_code if exit_code > 0 else PlatformError.exit_code
    return error
