"""Does a version treat groups of people alike, live? The shares of the pipeline's gate, with their intervals. Pure.

Each measure is the ratio of two sums over a group's requests. What one user does is no proof for each of the user's
requests anew, so sums vary by users: with x_u the facts of a user, the logarithm of a ratio A/B moves by
a_u / A - b_u / B for each user, and its variance is the sum of the squares of that (linearization; Binder 1983, as in
surveys with clusters). A group's **gap** is its measure over that of all, less 1. The group is a part of all, which the
same sum of squares minds. For both the sums of x_u and of their products are enough, so nobody's row is needed.

An interval holds at one look, by Student's distribution with as many users as count: where few users bring most of the
requests, few have told (Kish's effective size). Groups and measures are many: share the error among them (Bonferroni),
and the intervals hold all at once, the one of the largest gap, too.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import exp, inf, log, sqrt
from statistics import NormalDist
from typing import Final

import numpy as np

from perch.core.vector import Floats

FACTS: Final = ("requests", "predicted", "clicks", "called", "hits", "loss")
"""What is summed up of each user's requests: how many; their scores; the clicked ones; those among the best scores of
all; the clicked ones among these; their log losses."""

PRODUCTS: Final = tuple(combinations_with_replacement(FACTS, 2))

MEASURES: Final[Mapping[str, tuple[str, str]]] = {
    "calibration": ("predicted", "clicks"),
    "recall": ("hits", "clicks"),
    "selection": ("called", "requests"),
    "score": ("predicted", "requests"),
    "click_rate": ("clicks", "requests"),
    "log_loss": ("loss", "requests"),
}
"""Which sum over which. The first three are those of the gate: a gap in them is the model's; a gap in the last three
may be the groups' own."""

SHARES: Final = ("recall", "selection", "score", "click_rate")
"""Measures that are 1 at most."""

CALLED_SHARE: Final = 0.05
"""Best scores of all requests, of which one tells whom the model picks."""

LEAST_CLICKS: Final = 50
"""A group with fewer is not compared: a few clicks accuse nobody."""

_LEAST_FREEDOM: Final = 4.0

_COUNTS: Final = tuple(FACTS.index(name) for name in ("clicks", "called", "hits"))


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over the users of a group; sums of different users are added with `+`."""

    users: int
    sums: tuple[float, ...]
    """Of what each user's requests came to, in the order of `FACTS`."""

    products: tuple[float, ...]
    """Of the products of two of them, in the order of `PRODUCTS`."""

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            self.users + other.users,
            tuple(a + b for a, b in zip(self.sums, other.sums, strict=True)),
            tuple(a + b for a, b in zip(self.products, other.products, strict=True)),
        )

    def of(self, fact: str) -> float:
        """One of the sums."""
        return self.sums[FACTS.index(fact)]


@dataclass(frozen=True, slots=True)
class Figure:
    """An estimate with its interval."""

    estimate: float
    low: float
    high: float

    @property
    def proven(self) -> float:
        """How far from 0 it is at least; 0 or more."""
        return max(0.0, self.low, -self.high)


NOBODY: Final = Sums(0, (0.0,) * len(FACTS), (0.0,) * len(PRODUCTS))


def everybody(groups: Iterable[Sums]) -> Sums:
    """All groups of one attribute together; no user is in two of them."""
    return sum(groups, start=NOBODY)


def figure(group: Sums, measure: str, error: float) -> Figure | None:
    """A measure of a group.

    Args:
        group: Of at least one user.
        measure: One of `MEASURES`.
        error: Probability, 0 to 1, that the interval misses the truth.

    Returns:
        `None` where the group has nothing to divide by.
    """
    own = _moved_by(group, measure)
    if own is None:
        return None
    radius = sqrt(max(float(own @ _products(group) @ own), 0.0)) * _stretch(group, measure, error)
    center = _log_ratio(group, measure)
    most = 1.0 if measure in SHARES else inf
    return _figure(_ratio(group, measure), exp(center - radius), min(exp(center + radius), most))


def gap(group: Sums, whole: Sums, measure: str, error: float) -> Figure | None:
    """How far a group's measure lies from that of all, as a share of the latter; arguments as those of `figure`.

    Args:
        group: One group.
        whole: All groups with it, see `everybody`.
        measure: One of `MEASURES`.
        error: Probability, 0 to 1, that the interval misses the truth.

    Returns:
        A gap of -1 or more; `None` where the group, or all, have nothing to divide by.
    """
    own, all_ = _moved_by(group, measure), _moved_by(whole, measure)
    if own is None or all_ is None:
        return None
    mine, others = _products(group), _products(whole) - _products(group)
    variance = float((own - all_) @ mine @ (own - all_) + all_ @ others @ all_)
    radius = sqrt(max(variance, 0.0)) * _stretch(group, measure, error)
    center = _log_ratio(group, measure) - _log_ratio(whole, measure)
    estimate = _ratio(group, measure) / (_ratio(whole, measure) or 1.0)
    return _figure(estimate - 1, exp(center - radius) - 1, exp(center + radius) - 1)


def _figure(estimate: float, low: float, high: float) -> Figure:
    return Figure(estimate, min(low, estimate), max(high, estimate))


def _stretch(group: Sums, measure: str, error: float) -> float:
    """Standard errors that an interval reaches: a quantile of Student's (Abramowitz and Stegun 26.7.5)."""
    under = FACTS.index(MEASURES[measure][1])
    users = float(_sums(group)[under] ** 2 / _products(group)[under, under])
    freedom = max(users - 1, _LEAST_FREEDOM)
    z = NormalDist().inv_cdf(1 - error / 2)
    quantile = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    return quantile * sqrt(1 + 1 / freedom)


def _moved_by(group: Sums, measure: str) -> Floats | None:
    """By how much a user's facts move the logarithm of the measure, for each unit of them, shape (facts,)."""
    over, under = map(FACTS.index, MEASURES[measure])
    sums, moved = _sums(group), np.zeros(len(FACTS))
    if not (sums[over] > 0 and sums[under] > 0):
        return None
    moved[over] += 1 / sums[over]
    moved[under] -= 1 / sums[under]
    return moved


def _ratio(group: Sums, measure: str) -> float:
    over, under = MEASURES[measure]
    return group.of(over) / group.of(under) if group.of(under) else float(np.exp(_log_ratio(group, measure)))


def _log_ratio(group: Sums, measure: str) -> float:
    over, under = map(FACTS.index, MEASURES[measure])
    sums = _sums(group)
    return log(sums[over] / sums[under])


def _sums(group: Sums) -> Floats:
    """Where none has come of what is counted, as if one had: none has no logarithm, and proves less than it seems."""
    sums = np.array(group.sums)
    sums[list(_COUNTS)] = np.maximum(sums[list(_COUNTS)], 1.0)
    return sums


def _products(group: Sums) -> Floats:
    """The sums of products as a matrix, shape (facts, facts)."""
    products = np.zeros((len(FACTS), len(FACTS)))
    products[np.triu_indices(len(FACTS))] = group.products
    products += np.triu(products, 1).T
    for one in _COUNTS:
        products[one, one] = max(products[one, one], 1.0)
    return products
