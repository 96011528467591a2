"""What the object's status says: from what a service remembers, for people and for the operator after a restart."""

from datetime import datetime
from typing import Literal

from perch.core.sentences import odds, percent
from perch.core.types import Arm, Weights
from perch.errors import RolloutError
from perch.operator import packing
from perch.rollout.standing import Standing
from perch.settings.status import ENGINE_LIMIT_BYTES, SERVING, Condition, ModelServiceStatus

READY = "Ready"
"""Condition: the champion serves."""

ACCEPTED = "Accepted"
"""Condition: the wish can be meant, and is or was taken on."""

WATCHED = "Watched"
"""Condition: each second's counts are seen and acted on."""


def told(standing: Standing, weights: Weights) -> ModelServiceStatus:
    """The status without what only the object knows: its generation, conditions and requests."""
    attempt = standing.attempt if standing.rolling else None
    last = standing.attempt
    return ModelServiceStatus.model_validate(
        {
            "observedGeneration": 0,
            "champion": standing.champion,
            "baseline": standing.baseline,
            "canary": standing.arms.get(Arm.CANARY),
            "phase": attempt.state.phase.value if attempt else SERVING,
            "weight": percent(weights.canary) if attempt else None,
            "evidence": odds(attempt.e_value) if attempt else None,
            "rollout": last.name if last else None,
            "outcome": last.state.outcome if last and not attempt else None,
            "sentence": last.sentence if last else None,
            "engine": packed(standing),
        }
    )


def is_ready(status: ModelServiceStatus) -> bool:
    """Whether the champion serves, as the conditions say."""
    return any(one.type == READY and one.status == "True" for one in status.conditions)


def condition(
    kind: str,
    message: str,
    *,
    status: Literal["True", "False", "Unknown"],
    reason: str,
    generation: int,
    since: datetime,
) -> Condition:
    """One condition, as Kubernetes writes it; `since` is when its status last changed."""
    return Condition.model_validate(
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": since,
            "observedGeneration": generation,
        }
    )


def packed(standing: Standing) -> str:
    """What is remembered, as text that fits into the object.

    Raises:
        RolloutError: it is too large; so far it has never come near.
    """
    text = packing.packed(standing)
    if len(text) > ENGINE_LIMIT_BYTES:
        raise RolloutError(f"The engine's state takes {len(text):,} bytes; the object holds {ENGINE_LIMIT_BYTES:,}.")
    return text


def unpacked(text: str) -> Standing:
    """The inverse of `packed`; raises `RolloutError` when the text is something else."""
    return packing.unpacked(
        Standing, text, "engine", tells="where the service stands", remedy="the registry's roles count."
    )
