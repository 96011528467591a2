"""Workflows of one machine."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from perch.errors import UsageError
from perch.workflows.local.memory import Memory
from perch.workflows.local.plan import Templates
from perch.workflows.local.runner import Progress, Runner
from perch.workflows.place import FILE, FOLDER
from perch.workflows.render import workflows
from perch.workflows.schedule import Every


class Machine:
    """The workflows of one local platform's folder."""

    def __init__(self, declaration: Path, folder: Path) -> None:
        self._declaration, self._folder = declaration, folder

    def run(
        self, workflow: str, parameters: Mapping[str, str], progress: Progress, *, resume: bool
    ) -> Mapping[str, str]:
        """Run a workflow to its end, or go on with the last one; returns its output parameters.

        Raises:
            UsageError: there is no such workflow, or none to go on with.
            PerchError: a step has failed, with its own sentence and exit code.
        """
        templates, memory = Templates(workflows()), Memory(self._folder)
        known = templates.workflow(f"perch-{workflow}")
        templates.check(f"perch-{workflow}")
        run = memory.last(workflow) if resume else memory.begin(workflow, _arguments(known, parameters))
        environment = {FILE: str(self._declaration.resolve()), FOLDER: str(self._folder.resolve())}
        with memory.alone(run):
            return asyncio.run(Runner(templates, memory, run, environment, progress).run())

    def repeat(self, service: str, every: Every | None, memory: str) -> str:  # noqa: ARG002  it has its own
        """Say how a machine keeps time: it has a scheduler of its own.

        Raises:
            UsageError: always.
        """
        moment = f"@{'hourly' if every == 'hour' else 'daily'}" if every else "the line"
        raise UsageError(
            f"This machine's own scheduler does that: crontab -e, and {moment} perch workflow run retrain"
            f" --file {self._declaration.resolve()} --state {self._folder.resolve()} for {service}."
        )


def _arguments(workflow: Mapping[str, object], given: Mapping[str, str]) -> dict[str, str]:
    """The workflow's own parameters, with their defaults where nothing is given."""
    parameters: list[dict[str, str]] = workflow["arguments"]["parameters"]  # type: ignore[index]
    return {one["name"]: given.get(one["name"], one["value"]) for one in parameters}
