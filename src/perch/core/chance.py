"""How far apart two samples of one distribution come to lie by chance: what a drift must exceed to be one.

A constant limit such as 0.2 is exceeded by chance where rows are few, and says nothing for hours where they are many.
So both samples are drawn anew from the reference, a thousand times, and the limit is a quantile of their PSI. The PSI
of samples is nearly a scaled chi-square variable, so its far tail is read from one with the mean and variance of the
draws (Satterthwaite; quantile by Wilson and Hilferty), which takes a thousand draws where counting takes a million.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import ceil, floor, log2, sqrt
from statistics import NormalDist, median, quantiles
from typing import Final

import numpy as np

from perch.core.divergence import shares, stability_index

Counts = tuple[int, ...]

_DRAWS = 1_000
_CLASSES = 4  # of size, in each doubling
_PRIOR_WINDOWS = 5
RATIOS: Final = 24
"""Of so many windows the repetition is remembered."""

_PRIOR_REPEATS = 2.0


def limit(reference: Counts, rows: int, level: float, repeats: float = 1.0) -> float:
    """PSI that a sample of so many rows exceeds with a probability of `level` when nothing has moved.

    Args:
        reference: Rows by bin of the sample that is compared with.
        rows: Size of the sample; at least 1. It is rounded down to a class of sizes.
        level: Probability, 0 to 1.
        repeats: How often each row of the sample comes, see `dispersion`; rounded up to a class.

    Returns:
        The limit, the same for the same arguments: the draws' seed is what they are of.
    """
    times = 2 ** (ceil(_CLASSES * log2(repeats)) / _CLASSES)
    size = 2 ** (floor(_CLASSES * log2(max(rows, 1))) / _CLASSES)
    mean, variance = _moments(reference, max(1, floor(size / times)), times)
    if variance == 0.0:
        return mean
    freedom, spread = 2 * mean**2 / variance, NormalDist().inv_cdf(1 - level)
    step = 2 / (9 * freedom)
    return variance / (2 * mean) * freedom * max(1 - step + spread * sqrt(step), 0.0) ** 3


@lru_cache(maxsize=16_384)  # of two hundred services, a few sizes each
def _moments(reference: Counts, rows: int, times: float) -> tuple[float, float]:
    """Mean and variance of the PSI of two samples: one as large as the reference, and one of `rows` repeated rows."""
    rng, truth = np.random.default_rng([rows, *reference]), shares(reference)
    before = rng.multinomial(max(sum(reference), 1), truth, _DRAWS)
    after = rng.multinomial(rows, truth, _DRAWS)
    found = stability_index(shares(before), shares(times * after))
    return float(found.mean()), float(found.var())


def dispersion(ratios: Sequence[float], prior: float) -> float:
    """How often each row comes; at least 1.

    Rows of one user repeat each other, so counts vary more than a draw of single rows would. How much is seen from
    window to window, where drift can hardly move: see `repetition`. Until five windows
    have told, the others are taken for the prior: see `prior_of`.
    """
    return max(1.0, median((*ratios, *[prior] * (_PRIOR_WINDOWS - len(ratios)))))


def prior_of(ratios: Sequence[float]) -> float:
    """What is taken for the repetition of a column that is new: that of most others, by now; and 2 at least."""
    return max(_PRIOR_REPEATS, quantiles(ratios, n=4)[2] if len(ratios) > 1 else 0.0)


def repetition(before: Counts, after: Counts) -> float | None:
    """Variance between two windows, as a multiple of what single rows have; `None` where too few bins are filled.

    The two-sample chi-square statistic for each degree of freedom, over the median that it has by chance.
    """
    a, b = np.array(before, np.float64), np.array(after, np.float64)
    filled = a + b >= 10
    a, b = a[filled], b[filled]
    freedom = int(filled.sum()) - 1
    if freedom < 1 or not a.sum() or not b.sum():
        return None
    scale = sqrt(b.sum() / a.sum())
    statistic = ((a * scale - b / scale) ** 2 / (a + b)).sum()
    return round(float(statistic / (freedom * (1 - 2 / (9 * freedom)) ** 3)), 3)
