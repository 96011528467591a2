"""Where a step runs: in a pod of a cluster, or on a machine beside its local platform. Both answer the same."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from perch.adapters.registry.mlflow import MlflowRegistry
from perch.adapters.registry.port import ModelRegistry
from perch.settings import ModelService, load_declaration, to_yaml

if TYPE_CHECKING:
    from perch.operator.client import ClusterClient

REGISTRY: Final = "PERCH_REGISTRY"
"""Variable with MLflow's address; set in every pod of a workflow."""

FILE, FOLDER = "PERCH_FILE", "PERCH_STATE"
"""Variables with the declaration and the local platform's folder; the local runner sets them."""


class Place(Protocol):
    """What steps ask of where they run."""

    def declaration(self, service: str) -> ModelService:
        """The declaration of a service."""
        ...

    def registry(self) -> ModelRegistry:
        """Where its models are registered."""
        ...

    def status(self, service: str) -> dict[str, Any]:
        """Where it stands, as the local platform's control server tells it."""
        ...

    def release(self, service: str, version: int) -> str:
        """Wish for a version; returns the name of its rollout once that has begun."""
        ...


class InCluster:
    """The pod's own namespace."""

    def declaration(self, service: str) -> ModelService:
        """That of the ModelService."""
        return self._client(service).look().declaration

    def registry(self) -> ModelRegistry:
        """The one that the chart names."""
        return MlflowRegistry(os.environ[REGISTRY])

    def status(self, service: str) -> dict[str, Any]:
        """Out of the object's status."""
        return self._client(service).look().told()

    def release(self, service: str, version: int) -> str:
        """Wish for it in the object, and wait for the operator's answer."""
        return self._client(service).release(version, lambda _: None, override=False)

    def _client(self, service: str) -> "ClusterClient":
        from perch.adapters.cluster.inside import Inside
        from perch.operator.client import ClusterClient

        return ClusterClient(Inside(), service)


class OnMachine:
    """The declaration and the folder that the local runner was told."""

    def __init__(self) -> None:
        self._file, self._folder = Path(os.environ[FILE]), Path(os.environ[FOLDER])

    def declaration(self, service: str) -> ModelService:  # noqa: ARG002  a file declares one
        """That of the file."""
        return load_declaration(self._file)

    def registry(self) -> ModelRegistry:
        """The store in the folder."""
        from perch.local.store import open_registry

        return open_registry(self._folder)

    def status(self, service: str) -> dict[str, Any]:  # noqa: ARG002
        """As the control server tells it."""
        from perch.local.client import connect

        return connect(self._folder).status()

    def release(self, service: str, version: int) -> str:
        """Hand the declaration, with the version, to the control server."""
        from perch.local.client import connect

        declared = self.declaration(service)
        wish = declared.model_copy(update={"spec": declared.spec.model_copy(update={"version": version})})
        return connect(self._folder).release(to_yaml(wish), override=False)


def here() -> Place:
    """The place where this process runs."""
    return InCluster() if REGISTRY in os.environ else OnMachine()
