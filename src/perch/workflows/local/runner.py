"""Runs a workflow in the order of its DAGs, what may run beside each other beside each other.

Each step that ends is written down, so a run that failed, or was broken off, goes on where it stopped. Like Argo, a
branch that fails keeps others from beginning, and lets those that run end.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_UN, flock
from pathlib import Path
from typing import Any, Final

from perch.errors import PerchError
from perch.workflows.local.memory import Memory, Node, Run
from perch.workflows.local.plan import Manifest, Task, Templates, Values, filled, items_of, together, variable
from perch.workflows.local.process import run_step

Progress = Callable[[Run], None]
"""Told how a run stands, whenever that changes."""

_AT_ONCE: Final = max(1, (os.cpu_count() or 2) // 2)
"""Steps that run beside each other: each may take several processors for a while."""


@dataclass(frozen=True, slots=True)
class Called:
    """A template, called."""

    template: tuple[str, str]
    name: str
    """Path through the DAGs that led there."""

    given: Values


class Runner:
    """One run of a workflow on this machine."""

    def __init__(
        self, templates: Templates, memory: Memory, run: Run, environment: Mapping[str, str], progress: Progress
    ) -> None:
        """Make one.

        Args:
            templates: Those of all workflows.
            memory: Where it is written down.
            run: A new run, or one to go on with.
            environment: What every step finds in its environment, beside what this process has.
            progress: Told how it stands.
        """
        self._templates, self._memory, self._run = templates, memory, run
        self._environment, self._progress = environment, progress
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._failed = False
        self._workflow = {
            "workflow.name": run.name,
            "workflow.namespace": "here",
            **{f"workflow.parameters.{name}": value for name, value in run.parameters.items()},
        }

    async def run(self) -> Mapping[str, str]:
        """Run it to its end, its exit handler included; returns its output parameters.

        Raises:
            PerchError: a step has failed, with its own sentence and exit code.
        """
        spec = self._templates.workflow(f"perch-{self._run.workflow}")
        entry = Called((f"perch-{self._run.workflow}", spec["entrypoint"]), "", Values(self._run.parameters))
        try:
            outputs = await self._call(entry)
        except PerchError:
            await self._end(spec, "Failed")
            raise
        except BaseException:
            self._tell("Cancelled")
            raise
        await self._end(spec, "Succeeded")
        return outputs.parameters

    async def _end(self, spec: Manifest, phase: str) -> None:
        self._failed = False
        failures = [
            {"displayName": node.name, "message": node.message}
            for node in self._run.nodes.values()
            if node.phase == "Failed"
        ]
        self._workflow |= {"workflow.status": phase, "workflow.failures": json.dumps(failures)}
        self._run.nodes.pop("exit", None)
        with suppress(PerchError):  # its node says what went wrong; the workflow is as good as its steps
            if "onExit" in spec:
                await self._call(Called((f"perch-{self._run.workflow}", spec["onExit"]), "exit", Values()))
        self._tell(phase)

    async def _call(self, called: Called) -> Values:
        template = self._templates[called.template]
        inputs = {f"inputs.parameters.{name}": value for name, value in called.given.parameters.items()}
        key = _memory_key(template, {**self._workflow, **inputs})
        if key is not None and (remembered := self._memory.remembered(key)) is not None:
            self._finish(self._run.nodes.setdefault(called.name, Node(called.name)), "Remembered", remembered)
            return remembered
        outputs = await (self._dag(called, template) if "dag" in template else self._step(called, template))
        if key is not None:
            self._memory.remember(key, outputs)
        return outputs

    async def _dag(self, called: Called, template: Manifest) -> Values:
        inputs = {f"inputs.parameters.{name}": value for name, value in called.given.parameters.items()}
        known = {**self._workflow, **inputs}
        artifacts = {f"inputs.artifacts.{name}": path for name, path in called.given.artifacts.items()}
        running: dict[str, asyncio.Task[None]] = {}

        async def do(task: Task) -> None:
            await asyncio.gather(*(running[name] for name in task.needs))
            outputs = await self._task(called, task, known, artifacts)
            known.update({f"tasks.{task.name}.outputs.parameters.{k}": v for k, v in outputs.parameters.items()})
            artifacts.update({f"tasks.{task.name}.outputs.artifacts.{k}": v for k, v in outputs.artifacts.items()})

        for task in _in_order(self._templates.tasks(called.template)):
            running[task.name] = asyncio.create_task(do(task))
        await _all(running.values())
        made = template.get("outputs", {})
        return Values(
            {one["name"]: known[variable(one["valueFrom"]["parameter"])] for one in made.get("parameters", ())},
            {one["name"]: artifacts[variable(one["from"])] for one in made.get("artifacts", ())},
        )

    async def _task(
        self, called: Called, task: Task, known: Mapping[str, str], artifacts: Mapping[str, Path]
    ) -> Values:
        def call(item: str | None) -> Called:
            here = known if item is None else {**known, "item": item}
            path = task.name if item is None else f"{task.name}({item})"
            given = Values(
                {name: filled(text, here) for name, text in task.parameters.items()},
                {name: artifacts[variable(text)] for name, text in task.artifacts.items()},
            )
            return Called(task.template, f"{called.name}.{path}".lstrip("."), given)

        items = items_of(task, known)
        if items is None:
            return await self._call(call(None))
        calls = [asyncio.create_task(self._call(call(item))) for item in items]
        await _all(calls)
        return together([one.result() for one in calls])

    async def _step(self, called: Called, template: Manifest) -> Values:
        node = self._run.nodes.setdefault(called.name, Node(called.name))
        if node.done:
            return node.outputs
        given = Values({**_defaults(template, self._workflow), **called.given.parameters}, called.given.artifacts)
        known = {**self._workflow, **{f"inputs.parameters.{name}": value for name, value in given.parameters.items()}}
        async with self._places, self._alone(template, known):
            if self._failed:
                raise _NotBegunError(f"{called.name} was not begun.")
            return await self._work(node, template, given)

    async def _work(self, node: Node, template: Manifest, given: Values) -> Values:
        node.phase, node.message, began_s = "Running", "", time.monotonic()
        self._tell()
        folder = self._memory.folder(self._run) / (node.name or "exit")
        try:
            outputs = await run_step(template, given, folder, self._environment)
        except PerchError as error:
            self._failed = True
            node.phase, node.message, node.seconds = "Failed", str(error), time.monotonic() - began_s
            self._tell()
            raise
        node.seconds = time.monotonic() - began_s
        self._finish(node, "Succeeded", outputs)
        return outputs

    def _finish(self, node: Node, phase: str, outputs: Values) -> None:
        node.phase, node.parameters = phase, dict(outputs.parameters)
        node.artifacts = {name: str(path) for name, path in outputs.artifacts.items()}
        self._tell()

    def _tell(self, phase: str | None = None) -> None:
        self._run.phase = phase or self._run.phase
        self._memory.keep(self._run)
        self._progress(self._run)

    @asynccontextmanager
    async def _alone(self, template: Manifest, known: Mapping[str, str]) -> AsyncIterator[None]:
        """Hold the mutexes that the template names, among all runs on this machine."""
        mutexes = template.get("synchronization", {}).get("mutexes", ())
        if not mutexes:
            yield
            return
        (mutex,) = mutexes
        with self._memory.mutex(filled(mutex["name"], known)).open("ab") as file:
            await asyncio.to_thread(flock, file, LOCK_EX)
            try:
                yield
            finally:
                flock(file, LOCK_UN)


class _NotBegunError(PerchError):
    """Another branch had failed before."""


async def _all(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Wait for all; then raise the first failure, one that tells why rather than one that was never begun."""
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    failures = [one for one in ended if isinstance(one, BaseException)]
    for failure in sorted(failures, key=lambda one: isinstance(one, _NotBegunError)):
        raise failure


def _in_order(tasks: list[Task]) -> list[Task]:
    """The tasks, each after those it needs."""
    ordered: list[Task] = []
    left = list(tasks)
    while left:
        ready = [task for task in left if set(task.needs) <= {done.name for done in ordered}]
        assert ready, "Hera writes no circles"
        ordered += ready
        left = [task for task in left if task not in ready]
    return ordered


def _defaults(template: Manifest, known: Mapping[str, str]) -> dict[str, str]:
    parameters = template.get("inputs", {}).get("parameters", ())
    return {one["name"]: filled(str(one["value"]), known) for one in parameters if "value" in one}


def _memory_key(template: Manifest, known: Mapping[str, str]) -> str | None:
    return filled(template["memoize"]["key"], known) if "memoize" in template else None
