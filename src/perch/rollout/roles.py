"""Roles and quarantine follow from the record of a rollout; the first record follows from the roles."""

from perch.adapters.registry.port import ModelRegistry, Role
from perch.core.types import Action
from perch.errors import RolloutError
from perch.rollout.attempt import Attempt
from perch.rollout.standing import Standing


def write_roles(registry: ModelRegistry, model: str, attempt: Attempt) -> None:
    """Bring the registry in line with an attempt; doing it again changes nothing. Raises `RegistryError`."""
    registry.assign(model, Role.CHAMPION, attempt.entitled)
    if not attempt.done:
        return
    challenger = registry.holder(model, Role.CHALLENGER)
    if challenger is not None and challenger.version == attempt.version:
        registry.withdraw(model, Role.CHALLENGER)
    if attempt.state.outcome is Action.PROMOTE:
        registry.quarantine(model, attempt.version, None)  # what it was released against is disproved
    for version in sorted(_blamed(attempt)):
        registry.quarantine(model, version, attempt.sentence)


def _blamed(attempt: Attempt) -> set[int]:
    cause = attempt.state.cause
    if attempt.state.outcome is Action.PROMOTE or cause is None or not cause.quarantines:
        return set()
    if attempt.state.outcome is Action.ROLL_BACK:
        return {attempt.version}
    return {attempt.version, attempt.champion} - {attempt.entitled}


def first_standing(registry: ModelRegistry, model: str, declared_baseline: int | None) -> Standing:
    """Where a service stands that remembers nothing: the champion and the baseline serve.

    Raises:
        RolloutError: no version holds the role of the baseline, so there is nothing safe to serve.
    """
    if declared_baseline is not None:
        registry.assign(model, Role.BASELINE, declared_baseline)
    baseline = registry.holder(model, Role.BASELINE)
    if baseline is None:
        raise RolloutError(
            f"No version of {model} holds the role of the baseline, so there is nothing safe to serve. "
            "Train one with `perch train`."
        )
    champion = registry.holder(model, Role.CHAMPION) or baseline
    return Standing(model, champion=champion.version, baseline=baseline.version)
