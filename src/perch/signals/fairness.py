"""How the groups of people fare with each version: what the store tells of them, and what that comes to.

The store tells sums over groups, never of a person; how it keeps a group from being a person is told in
`perch.adapters.events.fairness`. Which group is who stays with those who hold the control token: metrics have the
largest gap, and neither group nor attribute.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from perch.core.fairness import LEAST_CLICKS, MEASURES, Figure, Sums, everybody, figure, gap

WINDOW_S: Final = 86_400.0
"""Of which the metrics tell, or of so much of it as the latest `MOST_REQUESTS` fill."""

ERROR: Final = 0.05
"""Probability that any interval of one look misses the truth."""

LEAST_USERS: Final = 50
"""Of a group that is told of."""

MOST_GROUPS: Final = 20
"""Of an attribute that are told apart, those with the most users; the rest are told of together."""

MOST_REQUESTS: Final = 100_000
"""Latest requests that are looked at, of all arms together; more would keep events waiting. Where there are more, arms
share them, and what a small one does not need goes to the others."""

MOST_SEARCHED: Final = 200_000
"""Latest requests among which those of each arm are looked for, so that a small arm is not crowded out."""


@dataclass(frozen=True, slots=True)
class Served:
    """The version that an arm had last, and what was looked at of it."""

    version: str
    arm: str
    requests: int
    """Live ones whose attribution window is over."""

    named: int
    """Those whose user is known."""

    from_s: float
    """Time of the first of them."""

    until_s: float
    """Time of the last of them."""


@dataclass(frozen=True, slots=True)
class Group:
    """Users with one value of a sensitive attribute, as one version in one arm served them."""

    version: str
    arm: str
    attribute: str
    value: str | None
    """`None`: the smaller groups together."""

    sums: Sums


@dataclass(frozen=True, slots=True)
class Fairness:
    """What the store tells of a stretch of time."""

    from_s: float
    until_s: float
    """That was asked about; `served` tells what was looked at."""

    has_attributes: bool
    """Whether any sensitive attribute is kept. Without one nothing is summed up."""

    served: tuple[Served, ...] = ()
    groups: tuple[Group, ...] = ()
    """By version, arm and attribute; the largest ones first."""


@dataclass(frozen=True, slots=True)
class Told:
    """A group with its measures, by their names; those that cannot be told are left out."""

    group: Group
    figures: Mapping[str, Figure]
    gaps: Mapping[str, Figure]
    """From all groups of the attribute together. Empty, where the group has too few clicks, or is the only one."""


@dataclass(frozen=True, slots=True)
class Gap:
    """The largest gap in a measure, of a group that is not named."""

    version: str
    arm: str
    measure: str
    figure: Figure


def tell(fairness: Fairness) -> list[Told]:
    """Measures and gaps of all groups. Their intervals all hold at once, at one look, but with the chance `ERROR`."""
    error = ERROR / max(1, 2 * len(MEASURES) * len(fairness.groups))
    told = []
    for _, found in groupby(fairness.groups, key=lambda one: (one.version, one.arm, one.attribute)):
        groups = list(found)
        whole = everybody(one.sums for one in groups)
        for one in groups:
            is_compared = len(groups) > 1 and one.sums.of("clicks") >= LEAST_CLICKS
            figures = {name: figure(one.sums, name, error) for name in MEASURES}
            gaps = {name: gap(one.sums, whole, name, error) for name in MEASURES if is_compared}
            told.append(Told(one, _there(figures), _there(gaps)))
    return told


def largest(told: Iterable[Told], measure: str) -> Told | None:
    """The group whose gap in a measure is the largest one: by what is proven of it, then by what it seems."""
    compared = [one for one in told if measure in one.gaps]
    return max(compared, key=lambda one: (one.gaps[measure].proven, abs(one.gaps[measure].estimate)), default=None)


def largest_gaps(fairness: Fairness) -> list[Gap]:
    """By version, arm and measure, over all attributes."""
    told = tell(fairness)
    of_arm = {
        one: [t for t in told if (t.group.version, t.group.arm) == (one.version, one.arm)] for one in fairness.served
    }
    found = ((one, measure, largest(groups, measure)) for one, groups in of_arm.items() for measure in MEASURES)
    return [Gap(one.version, one.arm, measure, worst.gaps[measure]) for one, measure, worst in found if worst]


def _there(figures: Mapping[str, Figure | None]) -> dict[str, Figure]:
    return {name: one for name, one in figures.items() if one is not None}
