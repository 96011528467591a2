"""One step as a process: Hera's runner for a script, the command itself for a container."""

import asyncio
import json
import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from perch.errors import PerchError
from perch.local.processes import die_with_parent
from perch.workflows.local.plan import Manifest, Values, filled
from perch.workflows.step import INPUTS, is_around

_OUTPUTS: Final = "hera__outputs_directory"
_LOG: Final = "log.txt"
_GRACE_S: Final = 10.0
_UNIT_S: Final = {"s": 1.0, "m": 60.0}


class StepError(PerchError):
    """A step has failed; its exit code is that of what failed."""


async def run_step(template: Manifest, given: Values, folder: Path, environment: Mapping[str, str]) -> Values:
    """Run a step, as often as its template allows, and return what it left in `folder`.

    Raises:
        StepError: it has failed; the message is its own.
    """
    retries = template.get("retryStrategy", {})
    tries, pause_s = 1 + int(retries.get("limit", 0)), _seconds(retries.get("backoff", {}).get("duration", "0s"))
    for left in range(tries - 1, -1, -1):
        code = await _try(template, given, folder, environment)
        if not code:
            return _outputs(template, folder)
        if not (left and is_around(code)):
            break
        await asyncio.sleep(pause_s)
        pause_s *= int(retries["backoff"]["factor"])
    error = StepError(_last_words(folder / _LOG))
    error.exit_code = code
    raise error


async def _try(template: Manifest, given: Values, folder: Path, environment: Mapping[str, str]) -> int:
    """Run it once; returns its exit code, that of a signal as a shell tells it."""
    inputs = folder / "inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    for name, path in given.artifacts.items():
        with suppress(FileExistsError):
            (inputs / name).symlink_to(path.resolve(), target_is_directory=path.is_dir())
    _outputs_folder(folder).joinpath("artifacts").mkdir(parents=True, exist_ok=True)
    with (folder / _LOG).open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *_command(template, given, folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **environment, INPUTS: str(inputs), _OUTPUTS: str(_outputs_folder(folder))},
            preexec_fn=die_with_parent,
        )
        deadline_s = template.get("activeDeadlineSeconds")
        try:
            code = await asyncio.wait_for(process.wait(), deadline_s)
        except TimeoutError:
            log.write(f"\nIt was not done within {deadline_s} s, and was ended.\n".encode())
            return 1
        finally:
            if process.returncode is None:
                await _end(process)
    return code if code >= 0 else 128 - code


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a step, which is to end what it has started itself."""
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _GRACE_S)
    except TimeoutError:
        process.kill()
        await process.wait()


def _command(template: Manifest, given: Values, folder: Path) -> list[str]:
    if "script" in template:
        told = folder / "parameters.json"
        told.write_text(json.dumps([{"name": name, "value": value} for name, value in given.parameters.items()]))
        return [sys.executable, *template["script"]["args"], str(told)]
    container = template["container"]
    known = {f"inputs.artifacts.{name}.path": str(folder / "inputs" / name) for name in given.artifacts}
    known |= {f"outputs.artifacts.{name}.path": str(path) for name, path in _artifacts(template, folder).items()}
    known |= {f"inputs.parameters.{name}": value for name, value in given.parameters.items()}
    words: list[str] = [*container["command"], *container["args"]]
    program = words.pop(0)
    return [sys.executable if program == "python" else program, *(filled(word, known) for word in words)]


def _outputs(template: Manifest, folder: Path) -> Values:
    parameters = {
        one["name"]: (_outputs_folder(folder) / "parameters" / one["name"]).read_text(encoding="utf-8")
        for one in template.get("outputs", {}).get("parameters", ())
    }
    return Values(parameters, _artifacts(template, folder))


def _artifacts(template: Manifest, folder: Path) -> dict[str, Path]:
    names = [one["name"] for one in template.get("outputs", {}).get("artifacts", ())]
    return {name: _outputs_folder(folder) / "artifacts" / name for name in names}


def _outputs_folder(folder: Path) -> Path:
    return folder.resolve() / "outputs"


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+)([sm])", text)
    assert found is not None, f"{text} is no time"
    return int(found[1]) * _UNIT_S[found[2]]


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    said = next((line for line in reversed(lines) if line.strip()), "it said nothing")
    return f"{said} (log: {log})"
