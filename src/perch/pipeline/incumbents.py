"""Champion and baseline, judged on the rows that a candidate is judged on.

They are taken from the registry, digest checked: what a candidate is compared with is what serves, not what training
remembers of it.
"""

from pathlib import Path

from perch.adapters.registry.port import ModelRegistry, ModelVersion, Role
from perch.errors import RegistryError
from perch.pipeline.case import Incumbent
from perch.pipeline.evaluate import check_inputs, evaluate
from perch.pipeline.features import Prepared
from perch.pipeline.settings import PipelineSettings
from perch.workload.package import load_package, read_manifest


def incumbents(
    registry: ModelRegistry, model: str, prepared: Prepared, settings: PipelineSettings, into: Path
) -> tuple[Incumbent, Incumbent]:
    """The champion and the baseline of a model; one and the same as long as nothing better serves.

    Raises:
        RegistryError: The registry does not answer, or a role is held by nobody.
        ModelError: A package is corrupt, or reads a column that the log does not have.
    """
    champion, baseline = (_holder(registry, model, role) for role in (Role.CHAMPION, Role.BASELINE))
    first = _judged(registry, champion, prepared, settings, into)
    if baseline.version == champion.version:
        return first, first
    return first, _judged(registry, baseline, prepared, settings, into)


def check_incumbents(registry: ModelRegistry, model: str, prepared: Prepared, into: Path) -> None:
    """Find out early that the champion or the baseline cannot be judged on this log; raises as `incumbents` does."""
    for role in (Role.CHAMPION, Role.BASELINE):
        version = registry.holder(model, role)
        if version is not None:
            package = registry.fetch(model, version.version, into)
            check_inputs(read_manifest(package, version.digest).schema, prepared)


def _judged(
    registry: ModelRegistry, version: ModelVersion, prepared: Prepared, settings: PipelineSettings, into: Path
) -> Incumbent:
    scorer = load_package(registry.fetch(version.model, version.version, into), version.digest)
    return Incumbent(version.version, scorer.schema, evaluate(scorer, prepared, settings))


def _holder(registry: ModelRegistry, model: str, role: Role) -> ModelVersion:
    version = registry.holder(model, role)
    if version is None:
        raise RegistryError(f"{model} has no {role}: run `perch train` to register a baseline first")
    return version
