"""Betting on paired losses: both versions scored the same request, and what became of it is known.

Let d be the canary's loss minus the champion's on one request, cut to [-3, 3]. What makes a request hard to predict is
in both losses and cancels, so d tells far more than the losses of different requests do. Under the null E d <= delta
given the past, for every stake 0 < lambda < 1 / (3 + delta)

    E (1 + lambda (d - delta)) <= 1,

and the factor is positive: the product over requests is a test supermartingale, and so is the mean over stakes. By
Ville's inequality it ever reaches 1/alpha with a probability of at most alpha. The opposite bet, 1 - lambda (d -
delta), proves that the canary is no more than delta worse. (Waudby-Smith and Ramdas, arXiv 2010.09686.)

**Counters.** Signals arrive as counters, so d comes as counts on the fixed `POINTS`. A difference d between two points
a < b is split: (b - d) / (b - a) of it counts at a and the rest at b, which keeps its mean. The logarithm of the
factor, g(d) = ln(1 + lambda (d - delta)), is concave, for both bets, so

    (b - d) / (b - a) g(a) + (d - a) / (b - a) g(b) <= g(d):

the wealth from counts is never above the one from the exact differences, and stays valid. The points lie denser near 0,
where most differences are; the loss of power is below 1 %.

**Assumed**: labels are matched at an age that was fixed before (see `loss`); one request does not foretell the next
one's d, beyond what the arms share; and `delta` is fixed before the pairs are seen. The mean that is tested is that of
the cut difference: a canary that is rarely, but monstrously, wrong loses at most 3 nats a time. Score counts that are
weighed earlier may foretell d; so they convict by themselves: see `perch.core.sources`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import asinh, sinh
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from perch.core.vector import Floats
from perch.core.wealth import grown, mean_wealth

_LARGEST = 3.0
_DENSITY = 300.0  # how much denser the points lie near 0 than a ruler's would
_ON_EACH_SIDE = 40
_STAKES = (0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 0.95)  # as parts of the largest one
_LEAST_PROBABILITY = 1e-9

POINTS = tuple(
    round(_LARGEST * sinh(asinh(_DENSITY) * step / _ON_EACH_SIDE) / _DENSITY, 6)
    for step in range(-_ON_EACH_SIDE, _ON_EACH_SIDE + 1)
)
"""Differences of loss, in nats, ascending from -3 to 3, at which pairs are counted."""


def loss(probability: ArrayLike, clicked: ArrayLike, matured_share: ArrayLike) -> Floats:
    """Log loss of the prediction "clicked within the label's age", in nats.

    A click within age a has the probability p F(a), where p is that of a click ever and F the distribution function of
    the delay. So p F(a) is what a version that knows p would say of the label as it stands at age a, and the log loss
    of that saying is proper: its mean is least for the true p. With p itself, each click that is still on its way would
    count as a wrong prediction, and the version that predicts too few clicks would win. In a difference of losses F
    cancels for a click, and where it is somewhat wrong it is so for both versions.

    The age must be fixed before, not end with the click: then all requests would be clicked.

    Args:
        probability: Predicted probabilities of a click, 0 to 1, shape (n,).
        clicked: Whether the click came within the age, shape (n,).
        matured_share: F(a), the share of all clicks that come within the age, above 0, at most 1; broadcast.
    """
    within = np.clip(np.multiply(probability, matured_share), _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    return np.asarray(-np.where(clicked, np.log(within), np.log1p(-within)))


def spread(differences: ArrayLike) -> tuple[float, ...]:
    """Count differences of loss (canary minus stable, finite) on `POINTS`; those beyond 3 nats count as 3.

    Returns:
        As many numbers as there are points. They add up to the number of differences, and each difference keeps its
        mean. Counts of several times or processes can be added.
    """
    cut = np.clip(np.asarray(differences, dtype=np.float64), -_LARGEST, _LARGEST)
    points = np.array(POINTS)
    above = np.clip(np.searchsorted(points, cut), 1, len(points) - 1)
    to_above = (cut - points[above - 1]) / (points[above] - points[above - 1])
    counts = np.bincount(above, to_above, len(points)) + np.bincount(above - 1, 1 - to_above, len(points))
    return tuple(counts.tolist())


@dataclass(frozen=True, slots=True)
class Paired:
    """Evidence from paired losses."""

    harm: tuple[float, ...] = (0.0,) * len(_STAKES)
    """ln of the wealth of each stake on "more than delta worse"."""

    no_harm: tuple[float, ...] = (0.0,) * len(_STAKES)
    """ln of the wealth of each stake on "less than delta worse"."""

    @property
    def e_value(self) -> float:
        """Evidence that the canary's loss is more than delta above the champion's; 1 means none."""
        return mean_wealth(self.harm)

    @property
    def cleared(self) -> float:
        """Evidence that it is less than delta above; 1 means none."""
        return mean_wealth(self.no_harm)

    def after(self, counts: Sequence[float], delta: float) -> Self:
        """Evidence after pairs, counted on `POINTS` (empty: none); `delta` nats worse is tolerated, 0 to below 3."""
        if not counts:
            return self
        bets = np.array(_STAKES)[:, np.newaxis] / (_LARGEST + delta) * (np.array(POINTS) - delta)
        harm, no_harm = ((np.log1p(bet) * counts).sum(axis=-1).tolist() for bet in (bets, -bets))
        return type(self)(grown(self.harm, harm), grown(self.no_harm, no_harm))
