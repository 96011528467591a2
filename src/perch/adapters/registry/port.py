"""What Perch asks of a model registry."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from perch.errors import RegistryError


class UnknownVersionError(RegistryError):
    """The registry answers, and has no such version."""


class Role(StrEnum):
    """What a version is for now. A role is held by one version of a model at a time."""

    BASELINE = "baseline"
    CHAMPION = "champion"
    CHALLENGER = "challenger"


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One immutable version of a registered model."""

    model: str
    version: int
    digest: str
    """sha256 of the package's manifest, in hex; it covers every file of the package."""

    kind: str
    """Family of the model: a name out of `perch.workload.estimators`."""

    score_histogram: tuple[int, ...] = ()
    """Evaluation rows by score bin, as the package's manifest has them."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    """Data digest, code version, parameters, the gate's reason: whatever the pipeline recorded."""

    roles: frozenset[Role] = frozenset()
    quarantine: str | None = None
    """Why this version must not be offered again; `None` when it may be."""

    run: str | None = None
    """The registry's name for the run that made it; `None` where it has none."""


MOST_REPORTS: Final = 20
"""Of a kind, about one version."""


class ModelRegistry(Protocol):
    """Holds the versions of models, their packages and their roles.

    Every method raises `RegistryError` when the registry does not answer, and when a model or version is unknown.
    """

    def register(
        self, model: str, package: Path, *, metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> ModelVersion:
        """Store the package folder as the next version. Either all of it is registered or nothing."""
        ...

    def versions(self, model: str) -> list[ModelVersion]:
        """All versions, oldest first; an unknown model has none."""
        ...

    def get(self, model: str, version: int) -> ModelVersion:
        """One version."""
        ...

    def holder(self, model: str, role: Role) -> ModelVersion | None:
        """The version that holds a role now."""
        ...

    def assign(self, model: str, role: Role, version: int) -> None:
        """Give a role to a version, taking it from the one that holds it."""
        ...

    def withdraw(self, model: str, role: Role) -> None:
        """Take a role from the version that holds it, if any does."""
        ...

    def quarantine(self, model: str, version: int, reason: str | None) -> None:
        """Remember why a version must not be offered again, or forget it (`None`)."""
        ...

    def note(self, model: str, version: int, name: str, value: str) -> None:
        """Write down a further fact of a version among its tags, over what the name said before."""
        ...

    @property
    def address(self) -> str | None:
        """Where other processes reach it; `None`: nowhere."""
        ...

    def keep_report(self, model: str, version: int, name: str, text: str) -> None:
        """Keep a report about a version under a name, which begins with its kind and a hyphen.

        Of each kind the last `MOST_REPORTS` by their names stay.
        """
        ...

    def fetch(self, model: str, version: int, into: Path) -> Path:
        """Return the folder of a version's package below `into`, digest checked; copied unless it stands there."""
        ...
