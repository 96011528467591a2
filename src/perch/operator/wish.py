"""What a ModelService object says, as its operator understands it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import ValidationError

from perch.adapters.cluster.objects import Manifest
from perch.adapters.traffic.gateway import SETTLING_S
from perch.core import Policy
from perch.errors import PerchError
from perch.settings import ModelService, Spec
from perch.settings.schema import API_VERSION, Training

REQUEST_ANNOTATION: Final = "perch.dev/request"
"""Where a person's request stands, as JSON: `{"id": "...", "verb": "pause"}`; each has an id of its own."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the object says now."""

    declaration: ModelService
    generation: int
    request: str | None
    """Text of the request annotation."""


def declaration_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """The declaration in an object, as `perch.yaml` would say it."""
    return {
        "apiVersion": API_VERSION,
        "kind": "ModelService",
        "metadata": {"name": found["metadata"]["name"]},
        "spec": dict(found.get("spec") or {}),
    }


def wish_of(body: Mapping[str, Any]) -> Wish:
    """What an object says now; raises `PerchError` when the schema let through what the settings refuse."""
    metadata = body["metadata"]
    try:
        declaration = ModelService.model_validate(declaration_of(body))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise PerchError(f"ModelService {metadata['name']} cannot be meant: {where}: {first['msg']}.") from None
    request = (metadata.get("annotations") or {}).get(REQUEST_ANNOTATION)
    return Wish(declaration, metadata["generation"], request)


def fixed_of(wish: Wish) -> Spec:
    """What a service is made with; a change of it makes the service anew, between two rollouts.

    Of training, only what its pods may take: all else is read when it is needed.
    """
    spec = wish.declaration.spec
    pods = Training().model_copy(update={"memory_mib": spec.training.memory_mib})
    return spec.model_copy(update={"version": None, "training": pods})


def policy_of(wish: Wish) -> Policy:
    """The declared policy, with the time that a gateway needs to follow."""
    declared = wish.declaration.spec.policy
    return replace(declared, settling_s=max(declared.settling_s, SETTLING_S))


def owner_of(body: Mapping[str, Any]) -> Manifest:
    """Reference by which what is made for an object goes with it."""
    return {
        "apiVersion": API_VERSION,
        "kind": "ModelService",
        "name": body["metadata"]["name"],
        "uid": body["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
