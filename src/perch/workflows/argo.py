"""Workflows of a cluster: submitted as a Workflow object that names its template, and followed until they end."""

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from perch.adapters.cluster.kubectl import Kubectl, Manifest
from perch.errors import PerchError, UsageError
from perch.workflows.local.memory import Node, Run
from perch.workflows.local.runner import Progress
from perch.workflows.schedule import Every, schedule

_KIND: Final = "workflows.argoproj.io"
_LOOK_S: Final = 2.0
_ENDED: Final = ("Succeeded", "Failed", "Error")
_MESSAGE: Final = re.compile(r"(?:main: )?Error \(exit code (\d+)\)(?:: )?(.*)", re.DOTALL)
_RETRY: Final = re.compile(r"\(\d+\)$")
_ITEM: Final = re.compile(r"\(\d+:([^)]*)\)")


class Argo:
    """The workflows of one namespace. Every method raises `PlatformError` when the cluster does not answer."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl

    def run(
        self, workflow: str, parameters: Mapping[str, str], progress: Progress, *, resume: bool
    ) -> Mapping[str, str]:
        """Submit a workflow and follow it to its end; returns its output parameters.

        Raises:
            UsageError: it is to be resumed, which Argo does itself.
            PerchError: it has failed, with the sentence and the exit code of the step that did.
        """
        if resume:
            raise UsageError("A workflow of a cluster is gone on with by Argo itself: argo retry NAME.")
        name = self.submit(workflow, parameters)
        while True:
            run = run_of(self._kubectl.get(_KIND, name))
            progress(run)
            if run.phase in _ENDED:
                return _outputs(run)
            time.sleep(_LOOK_S)

    def submit(self, workflow: str, parameters: Mapping[str, str]) -> str:
        """Begin a workflow; returns the name that the cluster gave it."""
        made = self._kubectl.create(
            {
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": "Workflow",
                "metadata": {"generateName": f"{parameters['service']}-{workflow}-"},
                "spec": {
                    "workflowTemplateRef": {"name": f"perch-{workflow}"},
                    "arguments": {"parameters": [{"name": n, "value": v} for n, v in parameters.items()]},
                },
            }
        )
        return str(made["metadata"]["name"])

    def repeat(self, service: str, every: Every | None, memory: str) -> str:
        """Retrain a service every so often; `None`: no longer by a schedule."""
        if every is None:
            self._kubectl.delete("cronworkflows.argoproj.io", f"{service}-retrain")
            return f"{service} is no longer retrained by a schedule."
        made = self._kubectl.apply(schedule(service, every, memory).to_dict())
        return f"{service} is retrained every {every}, by CronWorkflow {made['metadata']['name']}."


def run_of(found: Manifest) -> Run:
    """How a Workflow object stands: its pods, as the local runner calls its steps, and the DAGs that it remembers."""
    status = found.get("status", {})
    run = Run(
        name=found["metadata"]["name"],
        workflow=found["spec"]["workflowTemplateRef"]["name"].removeprefix("perch-"),
        parameters={one["name"]: one.get("value", "") for one in found["spec"]["arguments"]["parameters"]},
        phase=status.get("phase", "Pending"),
        message=status.get("message", ""),
    )
    told = [node for node in status.get("nodes", {}).values() if node["type"] == "Pod" or _is_remembered(node)]
    for node in sorted(told, key=lambda one: one.get("startedAt") or "~"):  # what waits for a place comes last
        step = _node(run.name, node)
        run.nodes[step.name] = step
    return run


def _node(workflow: str, found: Mapping[str, Any]) -> Node:
    name = _RETRY.sub("", found["name"].removeprefix(workflow).lstrip("."))
    began, ended = (_time_s(found.get(key)) for key in ("startedAt", "finishedAt"))
    outputs = found.get("outputs", {}).get("parameters", ())
    return Node(
        name=_ITEM.sub(r"(\1)", name) or workflow,
        phase="Remembered" if _is_remembered(found) else found["phase"],
        message=found.get("message", ""),
        seconds=0.0 if began is None else (ended or time.time()) - began,
        parameters={one["name"]: one.get("value", "") for one in outputs},
    )


def _is_remembered(node: Mapping[str, Any]) -> bool:
    return bool(node.get("memoizationStatus", {}).get("hit"))


def _time_s(text: str | None) -> float | None:
    return None if text is None else datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()


def _outputs(run: Run) -> Mapping[str, str]:
    """What its steps gave; raises the first failure."""
    if run.phase == "Succeeded":
        return {name: value for node in run.nodes.values() for name, value in node.parameters.items()}
    failed = [node for node in run.nodes.values() if node.phase in {"Failed", "Error"}]
    said = failed[0].message if failed else run.message or "nothing was said"
    found = _MESSAGE.fullmatch(said)
    error = PerchError((found[2] if found and found[2] else said) + f" (step {failed[0].name})" if failed else said)
    error.exit_code = int(found[1]) if found else PerchError.exit_code
    raise error
