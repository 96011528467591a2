"""What a ModelService object says at one moment, for a person: the wish, the status, and what was refused."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

from perch.adapters.cluster.kubectl import Manifest
from perch.adapters.fleet.kserve_resources import object_name
from perch.errors import PlatformError, RolloutError
from perch.operator.exposure import hostname_of
from perch.operator.reporting import ACCEPTED, unpacked
from perch.operator.wish import declaration_of
from perch.rollout.standing import Standing
from perch.rollout.status import Status
from perch.settings import ModelService, parse_declaration
from perch.settings.status import Condition, ModelServiceStatus


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A ModelService object, read and checked."""

    declaration: ModelService
    namespace: str
    generation: int
    status: ModelServiceStatus

    @classmethod
    def of(cls, found: Manifest) -> "Snapshot":
        """Read an object.

        Raises:
            DeclarationError: its wish cannot be meant.
            PlatformError: another version of Perch wrote its status.
        """
        metadata = found["metadata"]
        name = metadata["name"]
        try:
            status = ModelServiceStatus.of(found)
        except ValidationError as error:
            raise _other_version(name, str(error.errors()[0]["msg"])) from None
        declaration = parse_declaration(json.dumps(declaration_of(found)), source=f"ModelService {name}")
        return cls(declaration, metadata["namespace"], metadata["generation"], status)

    @property
    def name(self) -> str:
        """Name of the object."""
        return self.declaration.name

    @property
    def hostname(self) -> str:
        """DNS name under which the Gateway answers for the service."""
        return hostname_of(self.declaration, self.namespace)

    @property
    def accepted(self) -> Condition | None:
        """What the operator says of the wish."""
        return next((one for one in self.status.conditions if one.type == ACCEPTED), None)

    @property
    def standing(self) -> Standing:
        """Where the service stands.

        Raises:
            PlatformError: no operator has brought it up yet, or another version of Perch did.
        """
        if self.status.engine is None:
            said = " ".join(one.message for one in self.status.conditions if one.status == "False")
            raise PlatformError(
                f"No operator has brought ModelService {self.name} up yet. {said or 'Its events may say why'}: "
                f"kubectl --namespace {self.namespace} describe modelservice {self.name}"
            )
        try:
            return unpacked(self.status.engine)
        except RolloutError as error:
            raise _other_version(self.name, str(error)) from None

    def told(self) -> dict[str, Any]:
        """The facts that the local platform's control server tells; versions are named by their InferenceServices."""
        standing = self.standing
        weights = standing.weights(self.declaration.spec.policy.baseline_share)
        versions = {str(version): object_name(self.name, version) for version in standing.arms.values()}
        accepted = self.accepted
        refusal = accepted.message if accepted is not None and accepted.status == "False" else None
        status = asdict(Status.of(self.name, standing, weights))
        return status | {"route": f"http://{self.hostname}", "versions": versions, "refusal": refusal}

    def differences(self, wish: ModelService) -> list[str]:
        """Keys of the declaration, but for the version, that `wish` sets to something else."""
        mine, other = (one.spec.model_dump(by_alias=True, mode="json") for one in (self.declaration, wish))
        return [key for key in _differing("spec", mine, other) if key != "spec.version"]


def _differing(path: str, mine: Any, other: Any) -> Iterator[str]:  # noqa: ANN401  a tree of JSON
    if isinstance(mine, dict) and isinstance(other, dict):
        for key in mine:
            yield from _differing(f"{path}.{key}", mine[key], other[key])
    elif mine != other:
        yield path


def _other_version(name: str, why: str) -> PlatformError:
    return PlatformError(
        f"The status of ModelService {name} was written by another version of Perch ({why}). Use the one that its "
        "operator runs."
    )
