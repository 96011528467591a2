"""Trains in the cluster: each run is an Argo Workflow of the template `perch-retrain`, in the service's namespace.

A run's name is its Workflow's, so the API server itself sees to it that it is begun once.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from lightkube import AsyncClient
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import create_namespaced_resource

from perch.adapters.cluster.objects import CONFLICT, Manifest, calling, labels
from perch.adapters.cluster.writing import writing
from perch.core.freshness_types import Ended

TEMPLATE: Final = "perch-retrain"

Workflow = create_namespaced_resource("argoproj.io", "v1alpha1", "Workflow", "workflows")

_ENDED: Final = {"Succeeded": True, "Failed": False, "Error": False}
_MOST_CHARACTERS: Final = 1_000


class ArgoTrainings:
    """Implements `Trainings` over the Workflows of one service."""

    def __init__(
        self,
        client: AsyncClient,
        service: str,
        namespace: str,
        *,
        memory: str,
        owner: Manifest,
        may_write: Callable[[], None],
    ) -> None:
        """Make one.

        Args:
            client: Of the API server.
            service: Name of the ModelService.
            namespace: Of the service, its workflows and their template.
            memory: What a pod that trains may take, as Kubernetes writes it.
            owner: Reference to the object with which they are to go.
            may_write: Raises `PlatformError` when another operator writes.
        """
        self._client = client
        self._service = service
        self._namespace = namespace
        self._memory = memory
        self._owner = owner
        self._may_write = may_write

    async def start(self, name: str, reason: str) -> None:
        """See `Trainings.start`."""
        async with writing(f"begin Workflow {name}", self._may_write):
            try:
                await self._client.create(Workflow.from_dict(self._manifest(name, reason)))
            except ApiError as error:
                if error.status.code != CONFLICT:
                    raise

    async def in_progress(self) -> str | None:
        """See `Trainings.in_progress`."""
        return next((found["metadata"]["name"] for found in await self._found() if _phase(found) not in _ENDED), None)

    async def last(self) -> Ended | None:
        """See `Trainings.last`."""
        ends = [_ended(found) for found in await self._found() if _phase(found) in _ENDED]
        return max(ends, key=lambda ended: ended.ended_s, default=None)

    async def _found(self) -> list[Manifest]:
        """The service's runs, whoever began them: by hand and by a schedule, too."""
        with calling(f"list the workflows of {self._service}"):
            every = [found async for found in self._client.list(Workflow, namespace=self._namespace)]
        return [found for found in every if _is_run_of(found, self._service)]

    def _manifest(self, name: str, reason: str) -> Manifest:
        given = {"service": self._service, "reason": reason[:_MOST_CHARACTERS], "memory": self._memory}
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {
                "name": name,
                "namespace": self._namespace,
                "labels": labels(self._service),
                "ownerReferences": [self._owner],
            },
            "spec": {
                "workflowTemplateRef": {"name": TEMPLATE},
                "arguments": {"parameters": [{"name": key, "value": value} for key, value in given.items()]},
            },
        }


def _is_run_of(found: Manifest, service: str) -> bool:
    spec = found.get("spec", {})
    given = {one["name"]: one.get("value") for one in spec.get("arguments", {}).get("parameters", ())}
    return bool(spec.get("workflowTemplateRef", {}).get("name") == TEMPLATE and given.get("service") == service)


def _phase(found: Manifest) -> str:
    return str(found.get("status", {}).get("phase", ""))


def _ended(found: Manifest) -> Ended:
    status, metadata = found["status"], found["metadata"]
    began, ended = (_time_s(status.get(key) or metadata["creationTimestamp"]) for key in ("startedAt", "finishedAt"))
    message = str(status.get("message") or "")[:_MOST_CHARACTERS]
    return Ended(metadata["name"], _ENDED[_phase(found)], began, ended, message)


def _time_s(value: Any) -> float:  # noqa: ANN401  as the API server writes it
    return datetime.fromisoformat(str(value)).timestamp()
