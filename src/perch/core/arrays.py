"""The states of many rollouts side by side: a field of `State` is an array, with a row for each rollout."""

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from perch.core.guard import AT_REST
from perch.core.sample_ratio import RATIOS
from perch.core.types import Arm
from perch.core.vector import Floats

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

ARMS: Final = (Arm.CANARY, Arm.STABLE)
"""In the order of the arrays."""


@dataclass(slots=True)
class Moving:
    """What moves in every tick, by rollout: the fields of `State` of the same names, and those of its parts."""

    seen_s: Floats
    now_s: Floats
    data_s: Floats
    watched_s: Floats
    since_s: Floats
    spent: Floats
    spent_s: Floats
    waiting: Ints  # (R, arms, columns): finished, answered, scored, and the hits of each event
    seen: Ints
    matched: Floats  # (R, 2)
    wealth: Floats  # (R, bets)
    ratios: Floats  # (R, ratios)
    idle: Floats
    split: Floats  # (R, 3): canary, stable, expected
    detectors: Floats  # (R, events x ratios)

    def take(self, rows: Ints | Mask) -> "Moving":
        """Some of the rollouts."""
        return Moving(*(getattr(self, field.name)[rows] for field in fields(self)))

    def put(self, rows: Ints, values: "Moving") -> None:
        """Set some of the rollouts."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(values, field.name)


@dataclass(slots=True)
class Fixed:
    """What only a rule changes, by rollout."""

    phase: Ints
    share: Floats
    settled_s: Floats
    weight: Floats
    weights_since_s: Floats
    tolerated: Floats  # (R, 2)
    incident_until_s: Floats
    sharpens_at: Floats  # requests seen in the canary
    phase_since_s: Floats
    before_stage: Ints  # (R, arms, columns)
    matched_before: Floats  # (R, 2)
    before_weights: Floats  # requests of both arms

    def take(self, rows: Ints | Mask) -> "Fixed":
        """Some of the rollouts."""
        return Fixed(*(getattr(self, field.name)[rows] for field in fields(self)))


def nothing_moved(rollouts: int, columns: int, bets: int) -> Moving:
    """Of rollouts that have not begun, with so many columns of counts and so many bets."""
    seen_s, now_s, data_s, watched_s, since_s, spent, spent_s, idle = np.zeros((8, rollouts))
    waiting, seen = np.zeros((2, rollouts, len(ARMS), columns), np.int64)
    return Moving(
        seen_s=seen_s,
        now_s=now_s,
        data_s=data_s,
        watched_s=watched_s,
        since_s=since_s,
        spent=spent,
        spent_s=spent_s,
        waiting=waiting,
        seen=seen,
        matched=np.zeros((rollouts, 2)),
        wealth=np.zeros((rollouts, bets)),
        ratios=np.zeros((rollouts, len(RATIOS))),
        idle=idle,
        split=np.zeros((rollouts, 3)),
        detectors=np.zeros((rollouts, len(AT_REST))),
    )


def nothing_fixed(rollouts: int, columns: int) -> Fixed:
    """Of rollouts that have not begun, with so many columns of counts."""
    share, settled_s, weight, changed_s, incident_s, sharpens_at, since_s, before_weights = np.zeros((8, rollouts))
    return Fixed(
        phase=np.zeros(rollouts, np.int64),
        share=share,
        settled_s=settled_s,
        weight=weight,
        weights_since_s=changed_s,
        tolerated=np.full((rollouts, 2), 0.5),
        incident_until_s=incident_s,
        sharpens_at=sharpens_at,
        phase_since_s=since_s,
        before_stage=np.zeros((rollouts, len(ARMS), columns), np.int64),
        matched_before=np.zeros((rollouts, 2)),
        before_weights=before_weights,
    )
