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
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psutil
import uvicorn
from starlette.applications import Starlette

from perch.adapters.notify.message import Address
from perch.adapters.notify.webhook import Webhook
from perch.errors import PerchError, PlatformError
from perch.local.control import control_app
from perch.local.platform import Platform, platform
from perch.local.processes import Child, ProcessId, check_port_free
from perch.local.scraped import TARGETS, write_targets
from perch.local.store import open_registry, store_uri
from perch.local.trainings import retraining
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
    """What was written down; `None` when no platform was started there.

    Raises:
        PlatformError: it is not what `write_record` wrote.
    """
    path = folder / RECORD
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        facts["platform"] = ProcessId(**facts["platform"])
        facts["children"] = tuple(ProcessId(**child) for child in facts["children"])
        return Record(**facts)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise PlatformError(
            f"{path} does not say what runs ({error}). End the processes of the platform by hand, then remove it."
        ) from None


class _Server(uvicorn.Server):
    """A control server that leaves the signals to the platform."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def run(declaration_file: Path, folder: Path, *, allow_faults: bool, mlflow_port: int | None) -> None:
    """Run the platform in `folder` until the process is told to end, also while it is still starting."""
    _end_on_signals()
    declaration = load_declaration(declaration_file)
    route_url = f"http://127.0.0.1:{declaration.spec.port}"
    registry = open_registry(folder)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback((folder / RECORD).unlink, missing_ok=True)
        stack.callback((folder / TARGETS).unlink, missing_ok=True)
        write_record(Record(ProcessId.of(os.getpid()), (), 0, route_url, None), folder)
        if mlflow_port is not None:
            check_port_free(mlflow_port, "MLflow's page", "--mlflow-port")
            page = Child("MLflow", _mlflow_command(folder, mlflow_port), folder / "log" / "mlflow.log", _MLFLOW_ENV)
            stack.push_async_callback(page.stop)
        running = await stack.enter_async_context(
            platform(
                declaration,
                registry,
                folder,
                port=declaration.spec.port,
                allow_faults=allow_faults,
                retraining=partial(retraining, declaration_file, folder),
                notify=_telling(stack, declaration.name),
            )
        )
        control_port = await stack.enter_async_context(_answering(control_app(running, time.time)))
        mlflow_url = None if mlflow_port is None else f"http://127.0.0.1:{mlflow_port}"
        await _keep_record(folder, running, control_port, mlflow_url)


def _end_on_signals() -> None:
    """Let SIGTERM and SIGINT cancel the task that runs the platform, once: its ending is not to be cut short."""
    running = asyncio.current_task()
    assert running is not None, "called from a coroutine"

    def end() -> None:
        if not running.cancelling():
            running.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)


@contextlib.asynccontextmanager
async def _answering(app: Starlette) -> AsyncIterator[int]:
    """Serve `app` on a free port of the loopback interface; yields the port, where connections are taken on already."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = _Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    serving = asyncio.create_task(server.serve([listening]))
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        await serving


async def _keep_record(folder: Path, running: Platform, control_port: int, mlflow_url: str | None) -> None:
    """Keep the record of the running processes true, and Prometheus' list of them, for ever."""
    written, listed = None, None
    while True:
        record = Record(ProcessId.of(os.getpid()), _children(), control_port, running.route_url, mlflow_url)
        if record != written:
            write_record(record, folder)
            written = record
        processes = {*running.fleet.endpoints().values(), running.collector_url.removeprefix("http://")}
        if processes != listed:
            write_targets(folder, running.declaration.name, processes, control_port)
            listed = processes
        await asyncio.sleep(0.5)


def _children() -> tuple[ProcessId, ...]:
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended while we looked
            found.append(ProcessId(child.pid, child.create_time()))
    return tuple(found)


def _mlflow_command(folder: Path, port: int) -> list[str]:
    """MLflow's server with one worker: with its defaults it is fifteen processes."""
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", store_uri(folder), "--serve-artifacts"),
    ]


def _telling(stack: contextlib.AsyncExitStack, service: str) -> Callable[[str], None]:
    """Tells a sentence to the log, and to the webhook that the environment names, if it names one."""
    address = Address.from_environment()
    if address is None:
        return _say
    webhook = stack.enter_context(Webhook(address))

    def tell(sentence: str) -> None:
        _say(sentence)
        webhook.tell(sentence, {"service": service})

    return tell


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
    except asyncio.CancelledError:
        _say("The platform was told to end, and has.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
