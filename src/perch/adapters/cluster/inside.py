"""Speaks to the cluster from one of its own pods, with the rights of the pod's service account."""

from pathlib import Path
from typing import Final

from lightkube import Client
from lightkube.types import PatchType

from perch.adapters.cluster.objects import Manifest, ModelServiceObject, calling

_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Inside:
    """The ModelServices of the pod's own namespace. Every method raises `PlatformError` in one sentence."""

    where = ""
    """What `kubectl` must be told to mean the same cluster: nothing, in a pod of it."""

    def __init__(self) -> None:
        self._namespace = _NAMESPACE.read_text(encoding="utf-8")
        self._client = Client(namespace=self._namespace)

    def get(self, _kind: str, name: str) -> Manifest:
        """One ModelService."""
        with calling(f"read ModelService {name}"):
            return dict(self._client.get(ModelServiceObject, name))

    def patch(self, _kind: str, name: str, patch: Manifest) -> Manifest:
        """Merge `patch` into a ModelService; returns what it is then."""
        with calling(f"change ModelService {name}"):
            return dict(self._client.patch(ModelServiceObject, name, patch, patch_type=PatchType.MERGE))
