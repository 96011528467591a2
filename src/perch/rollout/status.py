"""Where a service stands, for a person and for programs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from perch.core.types import Action, Phase, Weights
from perch.rollout.standing import Standing


@dataclass(frozen=True, slots=True)
class Status:
    """Where a service stands now."""

    name: str
    model: str
    arms: Mapping[str, int]
    """Version by arm."""

    weights: Weights
    rollout: str | None
    """The rollout in progress, or the last one."""

    phase: Phase | None
    outcome: Action | None
    e_value: float
    sentence: str
    paused: bool
    retry_of: str | None
    """The attempt that the rollout repeats."""

    @classmethod
    def of(cls, name: str, standing: Standing, weights: Weights) -> Self:
        """The status of the service `name`; `weights` are those in force."""
        attempt = standing.attempt
        return cls(
            name=name,
            model=standing.model,
            arms={arm.value: version for arm, version in standing.arms.items()},
            weights=weights,
            rollout=attempt.name if attempt else None,
            phase=attempt.state.phase if attempt else None,
            outcome=attempt.state.outcome if attempt else None,
            e_value=attempt.e_value if attempt else 1.0,
            sentence=attempt.sentence if attempt else "There has been no rollout yet.",
            paused=attempt.state.paused if attempt else False,
            retry_of=attempt.retry_of if attempt else None,
        )
