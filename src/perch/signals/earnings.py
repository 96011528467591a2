"""What the requests of each arm earned, in stretches of time, for comparisons that a person can act on.

A request counts when its attribution window is over. Traffic is split at random at every moment, but by weights that
change; within a stretch of ten minutes they are taken to stand still.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass

from perch.core.lift import Earned, Stratum
from perch.core.types import Arm

STRATUM_S = 600.0

KEPT_S = 400 * 86_400.0
"""For so long the sums are kept: a year, and who compares with the one before."""


@dataclass(frozen=True, slots=True)
class Earning:
    """What the live requests of a version in an arm earned in one stretch."""

    begin_s: float
    """Since the epoch; a multiple of `STRATUM_S`."""

    version: str
    arm: str
    earned: Earned


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison."""

    arm: Arm
    version: str


def latest(earnings: Iterable[Earning], arm: Arm) -> Side | None:
    """The version that an arm had last; `None` when it never had any."""
    found = max((one for one in earnings if one.arm == arm), key=lambda one: one.begin_s, default=None)
    return None if found is None else Side(arm, found.version)


def total(earnings: Iterable[Earning], side: Side) -> Earned:
    """What a version earned in an arm, over all stretches."""
    mine = [astuple(one.earned) for one in earnings if (one.arm, one.version) == _key(side)]
    return Earned(*map(sum, zip(*mine, strict=True))) if mine else Earned(0)


def strata(earnings: Sequence[Earning], side: Side, other: Side) -> list[Stratum]:
    """The stretches in which both sides answered."""
    mine, others = (_by_begin(earnings, one) for one in (side, other))
    return [Stratum(mine[begin_s], others[begin_s]) for begin_s in sorted(mine.keys() & others.keys())]


def _by_begin(earnings: Iterable[Earning], side: Side) -> Mapping[float, Earned]:
    return {one.begin_s: one.earned for one in earnings if (one.arm, one.version) == _key(side)}


def _key(side: Side) -> tuple[str, str]:
    return side.arm.value, side.version
