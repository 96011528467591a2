"""What was run, and what it left: a folder for each workflow, so that one that failed goes on where it stopped."""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Any, Final

from perch.errors import UsageError
from perch.workflows.local.plan import Values

_RUN: Final = "run.json"
_DAY_S: Final = 86_400.0
_KEPT: Final = 5
"""Runs of a workflow whose folders stay."""


@dataclass(slots=True)
class Node:
    """One step of a workflow, as it stands."""

    name: str
    """Its path through the DAGs, such as `candidates(lightgbm).fit`."""

    phase: str = "Pending"
    """`Pending`, `Running`, `Succeeded`, `Failed`, or `Remembered`: what it made before was taken."""

    message: str = ""
    seconds: float = 0.0
    parameters: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[str, str] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Its outputs are there."""
        return self.phase in {"Succeeded", "Remembered"}

    @property
    def outputs(self) -> Values:
        """What it left."""
        return Values(self.parameters, {name: Path(path) for name, path in self.artifacts.items()})


@dataclass(slots=True)
class Run:
    """One run of a workflow."""

    name: str
    """Such as `train-3`."""

    workflow: str
    parameters: Mapping[str, str]
    phase: str = "Running"
    message: str = ""
    """Why it failed where no step did: a template that is missing, say."""

    nodes: dict[str, Node] = field(default_factory=dict)


class Memory:
    """The runs of one platform's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "workflows"

    def begin(self, workflow: str, parameters: Mapping[str, str]) -> Run:
        """A new run, under the next number."""
        self._folder.mkdir(parents=True, exist_ok=True)
        number = 1 + max((_number(one.name) for one in self._folder.glob(f"{workflow}-*")), default=0)
        while True:
            try:
                (self._folder / f"{workflow}-{number}").mkdir()
            except FileExistsError:  # somebody began one at the same time
                number += 1
            else:
                run = Run(f"{workflow}-{number}", workflow, parameters)
                self.keep(run)
                self._forget(workflow, number - _KEPT)
                return run

    def _forget(self, workflow: str, until: int) -> None:
        """Remove old runs: each holds the whole prepared log."""
        for path in self._folder.glob(f"{workflow}-*"):
            if 0 < _number(path.name) <= until:
                shutil.rmtree(path, ignore_errors=True)

    def last(self, workflow: str) -> Run:
        """The last run of a workflow, with every step that had not ended pending again.

        Raises:
            UsageError: there is none, or it has succeeded.
        """
        found = sorted(self._folder.glob(f"{workflow}-*/{_RUN}"), key=lambda path: _number(path.parent.name))
        if not found:
            raise UsageError(f"No workflow {workflow} has run here, so there is none to go on with.")
        told = json.loads(found[-1].read_text(encoding="utf-8"))
        run = Run(**told | {"nodes": {name: Node(**node) for name, node in told["nodes"].items()}})
        if run.phase == "Succeeded":
            raise UsageError(f"The last one, {run.name}, has succeeded, so there is nothing left of it to do.")
        run.nodes = {name: node for name, node in run.nodes.items() if node.done}
        run.phase = "Running"
        return run

    def keep(self, run: Run) -> None:
        """Write down how a run stands, all or nothing."""
        draft = self.folder(run) / f".{_RUN}"
        draft.write_text(json.dumps(asdict(run), indent=1), encoding="utf-8")
        draft.replace(self.folder(run) / _RUN)

    def folder(self, run: Run) -> Path:
        """Where a run's artifacts and logs are."""
        return self._folder / run.name

    @contextmanager
    def alone(self, run: Run) -> Iterator[None]:
        """Let nobody else go on with the same run; raises `UsageError` while somebody does."""
        with (self.folder(run) / "lock").open("ab") as file:
            try:
                flock(file, LOCK_EX | LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"{run.name} is running already. Wait for its end.") from None
            yield

    def mutex(self, name: str) -> Path:
        """The file that whoever is to run alone under a name locks."""
        folder = self._folder / "mutexes"
        folder.mkdir(exist_ok=True)
        return folder / name

    def remembered(self, key: str) -> Values | None:
        """What a step left under a key less than a day ago, if it is there still."""
        try:
            told: dict[str, Any] = json.loads(self._key(key).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):  # never made, or broken off
            return None
        artifacts = {name: Path(path) for name, path in told["artifacts"].items()}
        if time.time() - told["time_s"] > _DAY_S or not all(path.exists() for path in artifacts.values()):
            return None
        return Values(told["parameters"], artifacts)

    def remember(self, key: str, outputs: Values) -> None:
        """Keep what a step left."""
        path = self._key(key)
        path.parent.mkdir(exist_ok=True)
        artifacts = {name: str(path) for name, path in outputs.artifacts.items()}
        told = {"time_s": time.time(), "parameters": dict(outputs.parameters), "artifacts": artifacts}
        draft = path.with_suffix(f".{os.getpid()}-{time.monotonic_ns()}")
        draft.write_text(json.dumps(told), encoding="utf-8")
        draft.replace(path)

    def _key(self, key: str) -> Path:
        return self._folder / "remembered" / f"{key}.json"


def _number(name: str) -> int:
    tail = name.rpartition("-")[2]
    return int(tail) if tail.isdigit() else 0
