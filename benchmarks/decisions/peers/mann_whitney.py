"""Kayenta's comparison of two samples: the Mann-Whitney interval of their shift, against the size of the shift itself.

Source: `MannWhitney.scala` and `MannWhitneyClassifier.scala` of spinnaker/kayenta, which follow R's `wilcox.test`: the
normal approximation with mid-ranks, the correction for ties and that for continuity. The ends of the interval and the
Hodges-Lehmann estimate are roots of a step function, found by Brent's method within 1e-4; they are the steps of the
function give or take that much, and Kayenta's published values are only met with the same method and tolerance.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from scipy.optimize import brentq

from perch.rehearsal.market import Floats

_TOLERANCE = 1e-4
_CONFIDENCE = 0.98
_Z = NormalDist().inv_cdf((1 + _CONFIDENCE) / 2)
_CRITICAL_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Shift:
    """By how much the experiment's values are above the control's."""

    low: float
    """Lower end of the 98 % interval."""

    high: float
    """Its upper end."""

    estimate: float
    """Hodges-Lehmann estimate."""


def is_high(experiment: Floats, control: Floats) -> bool:
    """Whether Kayenta classifies the experiment as *High*: `(n,)` and `(m,)` values, at least one each.

    The interval must lie above a quarter of the estimated shift, and the ratio of the means must be at least 1.
    """
    if np.unique(np.concatenate([experiment, control])).size == 1 or np.array_equal(
        np.sort(experiment), np.sort(control)
    ):
        return False
    found = shift(experiment, control)
    return bool(found.low > _CRITICAL_SHARE * abs(found.estimate) and experiment.mean() >= control.mean())


def shift(experiment: Floats, control: Floats) -> Shift:
    """The shift between two samples, `(n,)` and `(m,)`, which must not all be tied."""
    statistic = _Statistic(experiment, control)
    return Shift(low=statistic.root(_Z), high=statistic.root(-_Z), estimate=statistic.root(0.0))


class _Statistic:
    """The standardised rank sum of the experiment, less a shift: a step function that falls as the shift grows."""

    def __init__(self, experiment: Floats, control: Floats) -> None:
        self._experiment = experiment
        self._control = control
        self._differences = np.sort(np.subtract.outer(experiment, control), axis=None)
        self._ties_within = _ties(experiment) + _ties(control)

    def root(self, quantile: float) -> float:
        """The shift at which the statistic falls through `quantile`, or the end of the range that it does not leave."""
        least, most = self._differences[0], self._differences[-1]
        if self(least) <= quantile:
            return float(least)
        if self(most) >= quantile:
            return float(most)
        return float(brentq(lambda shift: self(shift) - quantile, least, most, xtol=_TOLERANCE))

    def __call__(self, shift: float) -> float:
        n, m = len(self._experiment), len(self._control)
        below, up_to = (
            np.searchsorted(self._differences, shift, "left"),
            np.searchsorted(self._differences, shift, "right"),
        )
        excess = n * m / 2 - (below + up_to) / 2
        ties = self._ties_within if below == up_to else _ties(np.concatenate([self._experiment - shift, self._control]))
        variance = n * m / 12 * (n + m + 1 - ties / ((n + m) * (n + m - 1)))
        return float((excess - np.sign(excess) * 0.5) / np.sqrt(variance)) if variance > 0 else 0.0


def _ties(values: Floats) -> int:
    """Sum of t³ - t over groups of t equal values."""
    sizes = np.unique(values, return_counts=True)[1]
    return int((sizes**3 - sizes).sum())
