"""Step 8: roles. Of all candidates that passed their gates the best asks for traffic; there is always a baseline."""

from collections.abc import Iterable

from perch.adapters.registry.port import ModelRegistry, ModelVersion, Role
from perch.errors import RefusedError
from perch.pipeline.record import Record

RECORD_TAG = "gates"
"""Tag of a version with what its gates found."""


def seat(registry: ModelRegistry, baseline: ModelVersion) -> None:
    """Give a baseline the roles that nobody holds: there must be something to serve, and something to come home to."""
    for role in (Role.BASELINE, Role.CHAMPION):
        if registry.holder(baseline.model, role) is None:
            registry.assign(baseline.model, role, baseline.version)


def offer(registry: ModelRegistry, model: str, versions: Iterable[int]) -> int:
    """Give the challenger's role to the version with the lowest log loss of those that passed; returns it.

    A version that serves already stays what it is: there is nothing to offer, and nothing is wrong. One that passed
    once, and is refused now, asks no longer.

    Raises:
        RefusedError: none passed, with what stopped each.
        RegistryError: the registry does not answer.
    """
    found = [registry.get(model, version) for version in versions]
    passed = [version for version in found if refusal(version) is None]
    asking = registry.holder(model, Role.CHALLENGER)
    if asking is not None and asking.version in {one.version for one in found if one not in passed}:
        registry.withdraw(model, Role.CHALLENGER)
    if not passed:
        reasons = "; ".join(f"version {one.version} ({one.kind}): {refusal(one)}" for one in found)
        raise RefusedError(f"No candidate is offered, and what serves stays. {reasons}")
    best = min(passed, key=lambda version: version.metrics["log_loss"])
    if Role.CHAMPION not in best.roles:
        registry.assign(model, Role.CHALLENGER, best.version)
    return best.version


def refusal(version: ModelVersion) -> str | None:
    """Why a version must not be offered; `None` when it may be."""
    if version.quarantine is not None:
        return f"it is in quarantine: {version.quarantine}"
    if RECORD_TAG not in version.tags:
        return "no gate has judged it"
    record = Record.from_json(version.tags[RECORD_TAG])
    return None if record.accepted else record.reason
