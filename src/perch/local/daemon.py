"""The local platform as a process of its own, which stays when the command that started it has ended.

`perch up` starts it, `perch down` ends it, and the other commands talk to it. What they need to know about it stands
in `platform.json` beside the platform's other files.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
import uvicorn

from perch.errors import PerchError
from perch.local.control import control_app
from perch.local.platform import platform
from perch.local.processes import Child, ProcessId, free_port
from perch.local.store import open_registry, store_uri
from perch.settings import load_declaration

RECORD = "platform.json"

_MLFLOW_ENV = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # saves a dozen processes


@dataclass(frozen=True, slots=True)
class Record:
    """What other commands need to know of the running platform."""

    platform: ProcessId
    children: tuple[ProcessId, ...]
    control_port: int
    """0 while the platform is still starting."""

    route_url: str
    mlflow_url: str | None


def write_record(record: Record, folder: Path) -> None:
    """Write it down, all or nothing."""
    draft = folder / f"{RECORD}.tmp"
    draft.write_text(json.dumps(asdict(record)), encoding="utf-8")
    draft.replace(folder / RECORD)


def read_record(folder: Path) -> Record | None:
    """What was written down; `None` when no platform was started there."""
    try:
        facts = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    facts["platform"] = ProcessId(**facts["platform"])
    facts["children"] = tuple(ProcessId(**child) for child in facts["children"])
    return Record(**facts)


class _Server(uvicorn.Server):
    """A control server that leaves the signals to the platform."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def run(declaration_file: Path, folder: Path, *, allow_faults: bool, mlflow_port: int | None) -> None:
    """Run the platform in `folder` until the process is told to end."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    declaration = load_declaration(declaration_file)
    route_url = f"http://127.0.0.1:{declaration.spec.port}"
    write_record(Record(ProcessId.of(os.getpid()), (), 0, route_url, None), folder)
    registry = open_registry(folder)
    async with contextlib.AsyncExitStack() as stack:
        if mlflow_port is not None:
            page = Child("MLflow", _mlflow_command(folder, mlflow_port), folder / "log" / "mlflow.log", _MLFLOW_ENV)
            stack.push_async_callback(page.stop)
        running = await stack.enter_async_context(
            platform(declaration, registry, folder, port=declaration.spec.port, allow_faults=allow_faults, notify=_say)
        )
        port = free_port()
        app = control_app(running, time.time)
        server = _Server(uvicorn.Config(app, port=port, log_level="warning", lifespan="off"))
        serving = asyncio.create_task(server.serve())
        mlflow_url = None if mlflow_port is None else f"http://127.0.0.1:{mlflow_port}"
        await _keep_record(folder, stop, port, running.route_url, mlflow_url)
        server.should_exit = True
        await serving


async def _keep_record(
    folder: Path, stop: asyncio.Event, control_port: int, route_url: str, mlflow_url: str | None
) -> None:
    """Keep the record of the running processes true until the platform is told to stop."""
    written = None
    while not stop.is_set():
        children = tuple(
            ProcessId(child.pid, child.create_time()) for child in psutil.Process().children(recursive=True)
        )
        record = Record(ProcessId.of(os.getpid()), children, control_port, route_url, mlflow_url)
        if record != written:
            write_record(record, folder)
            written = record
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), timeout=0.5)


def _mlflow_command(folder: Path, port: int) -> list[str]:
    """MLflow's server with one worker: with its defaults it is fifteen processes."""
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", store_uri(folder), "--serve-artifacts"),
    ]


def _say(sentence: str) -> None:
    print(f"{datetime.now(tz=UTC):%H:%M:%S} {sentence}", flush=True)  # noqa: T201  the log


def main() -> int:
    """Run the platform as the command line says; a mistake of the user's is one sentence in the log."""
    parser = argparse.ArgumentParser(prog="perch-platform")
    parser.add_argument("--declaration", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--mlflow-port", type=int)
    parser.add_argument("--allow-faults", action="store_true")
    asked = parser.parse_args()
    try:
        asyncio.run(
            run(asked.declaration, asked.folder, allow_faults=asked.allow_faults, mlflow_port=asked.mlflow_port)
        )
    except PerchError as error:
        _say(str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
