"""Reads rendered workflow templates: the part of Argo's language that ours are written in, and nothing of the rest.

What is not understood is refused when it is read: a workflow that ran otherwise here than in the cluster would be worse
than one that does not run. (Argo Workflows, "Field Reference" and "Workflow Variables".)
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from perch.errors import UsageError

Manifest = dict[str, Any]

_VARIABLE: Final = re.compile(r"\{\{(.+?)\}\}")
_UNKNOWN: Final = ("when", "withItems", "withSequence", "inline", "onExit", "hooks", "continueOn")


@dataclass(frozen=True, slots=True)
class Values:
    """What goes into a template, or comes out of it."""

    parameters: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a DAG."""

    name: str
    template: tuple[str, str]
    """Workflow template and template that it calls."""

    needs: tuple[str, ...]
    """Tasks that must have succeeded before."""

    parameters: Mapping[str, str]
    artifacts: Mapping[str, str]
    """By name, the variable that each comes from."""

    items: str | None
    """What it is called for, once for each: a JSON list, after its variables are put in."""


class Templates:
    """The templates of all workflows, by the workflow's name and their own."""

    def __init__(self, workflows: Iterable[Manifest]) -> None:
        self._workflows: dict[str, Manifest] = {one["metadata"]["name"]: one["spec"] for one in workflows}
        self._templates: dict[tuple[str, str], Manifest] = {
            (name, template["name"]): template
            for name, spec in self._workflows.items()
            for template in spec["templates"]
        }

    def __getitem__(self, name: tuple[str, str]) -> Manifest:
        """The template of a workflow."""
        return self._templates[name]

    def workflow(self, name: str) -> Manifest:
        """The specification of a workflow; raises `UsageError` when there is none of that name."""
        if name not in self._workflows:
            known = ", ".join(sorted(one.removeprefix("perch-") for one in self._workflows))
            raise UsageError(f"There is no workflow {name.removeprefix('perch-')!r}. Known: {known}.")
        return self._workflows[name]

    def check(self, workflow: str) -> None:
        """Raise `UsageError` when a workflow, or anything that it calls, says what only Argo understands."""
        called = [(workflow, self.workflow(workflow)["entrypoint"])]
        while called:
            name = called.pop()
            if self[name].get("daemon"):
                raise UsageError(f"{name[1]} goes on beside other steps, which only Argo understands. Run it there.")
            called += [task.template for task in self.tasks(name)] if "dag" in self[name] else []

    def tasks(self, name: tuple[str, str]) -> list[Task]:
        """The tasks of a DAG, in the order in which they are written."""
        return [_task(name[0], found) for found in self[name]["dag"]["tasks"]]


def _task(workflow: str, found: Manifest) -> Task:
    unknown = [key for key in _UNKNOWN if key in found]
    if unknown:
        raise UsageError(f"Task {found['name']} says {', '.join(unknown)}, which only Argo understands. Run it there.")
    reference = found.get("templateRef")
    arguments = found.get("arguments", {})
    return Task(
        name=found["name"],
        template=(reference["name"], reference["template"]) if reference else (workflow, found["template"]),
        needs=_needs(found),
        parameters={one["name"]: str(one["value"]) for one in arguments.get("parameters", ())},
        artifacts={one["name"]: one["from"] for one in arguments.get("artifacts", ())},
        items=found.get("withParam"),
    )


def _needs(found: Manifest) -> tuple[str, ...]:
    needs = tuple(name.strip() for name in found.get("depends", "").split("&&") if name.strip())
    if any(not re.fullmatch(r"[-\w]+", name) for name in needs):
        raise UsageError(f"Task {found['name']} depends on {found['depends']!r}, which only Argo understands.")
    return needs


def filled(text: str, known: Mapping[str, str]) -> str:
    """The text with its variables put in; raises `UsageError` for one that nobody knows."""

    def value(match: re.Match[str]) -> str:
        name = match[1].strip()
        if name not in known:
            raise UsageError(f"Nobody knows what {{{{{name}}}}} is, so the workflow cannot go on.")
        return known[name]

    return _VARIABLE.sub(value, text)


def variable(text: str) -> str:
    """The name of the one variable that a text consists of."""
    found = _VARIABLE.fullmatch(text)
    assert found is not None, f"{text} is no variable"
    return found[1].strip()


def items_of(task: Task, known: Mapping[str, str]) -> list[str] | None:
    """What a task is called for; `None`: once, for nothing."""
    if task.items is None:
        return None
    found: list[Any] = json.loads(filled(task.items, known))
    return [one if isinstance(one, str) else json.dumps(one) for one in found]


def together(outputs: list[Values]) -> Values:
    """The outputs of a task that was called for several items: each parameter is the list of them."""
    names = outputs[0].parameters if outputs else {}
    return Values({name: json.dumps([_item(one.parameters[name]) for one in outputs]) for name in names})


def _item(text: str) -> Any:  # noqa: ANN401  as Argo does: what is JSON goes in as it is
    try:
        return json.loads(text)
    except ValueError:
        return text
