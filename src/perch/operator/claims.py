"""Which service runs a model: one at a time, for roles and quarantine belong to the model in the registry.

Two services of one model would take the champion's role from each other, and a version that failed in one would be in
quarantine for both.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from perch.errors import PlatformError
from perch.settings import Spec


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """What one object claims; the least of all claims on a model counts."""

    is_new: bool
    """Nobody has run it yet."""

    since: str
    """When the object was made, as Kubernetes writes it."""

    namespace: str
    name: str

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Self:
        """The claim of an object."""
        metadata, status = body["metadata"], body.get("status") or {}
        is_new = status.get("champion") is None
        return cls(is_new, metadata.get("creationTimestamp", ""), metadata["namespace"], metadata["name"])


def model_of(body: Mapping[str, Any]) -> str:
    """The model that an object claims."""
    return str((body.get("spec") or {}).get("model", Spec().model))


def check_first(claims: Iterable[Claim], model: str, namespace: str, name: str) -> None:
    """Raise `PlatformError` when another service has a better claim on the model."""
    first = min(claims, default=None)
    if first is not None and (first.namespace, first.name) != (namespace, name):
        raise PlatformError(
            f"Model {model} is run by ModelService {first.name} in namespace {first.namespace}, and its roles and"
            " quarantine belong to the model. Register the versions of this service under a model name of its own."
        )
