"""How predicted click probabilities are judged: sharpness, order, and whether the probabilities mean what they say.

Intervals come from the Poisson bootstrap (Chamandy et al., *Estimating Uncertainty for Massive Data Streams*, 2012):
each block of rows counts Poisson(1) times, so every metric that is a ratio of sums needs one matrix product.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_SMALLEST = 1e-15
_BLOCKS = 2_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A bootstrap interval: 95 % of the resamples lie in it, or more where several are looked at together."""

    low: float
    high: float


def log_losses(clicked: Bools, probability: Floats) -> Floats:
    """Log loss of each row, in nats."""
    p = np.clip(probability, _SMALLEST, 1 - _SMALLEST)
    return np.asarray(-np.where(clicked, np.log(p), np.log1p(-p)))


def normalised_entropy(clicked: Bools, probability: Floats) -> float:
    """Log loss as a share of that of always predicting the mean click rate; below 1 is better than knowing nothing.

    He et al., *Practical Lessons from Predicting Clicks on Ads at Facebook*, 2014, §3. NaN without both outcomes.
    """
    rate = clicked.mean()
    if rate in (0, 1):
        return float("nan")
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate))
    return float(log_losses(clicked, probability).mean() / entropy)


def auc(clicked: Bools, probability: Floats) -> float:
    """Chance that a random click scores above a random non-click, ties counting half. NaN without both."""
    clicks = int(clicked.sum())
    others = len(clicked) - clicks
    if not clicks or not others:
        return float("nan")
    return float((rankdata(probability)[clicked].sum() - clicks * (clicks + 1) / 2) / (clicks * others))


def pr_auc(clicked: Bools, probability: Floats) -> float:
    """Average precision: precision at each distinct score, weighted by the recall it adds. NaN without clicks."""
    if not clicked.any():
        return float("nan")
    order = np.argsort(-probability, kind="stable")
    hits = np.cumsum(clicked[order])
    last = np.append(np.diff(probability[order]) != 0, True)  # equal scores are taken in together
    precision = hits[last] / (np.flatnonzero(last) + 1)
    return float(np.sum(precision * np.diff(hits[last] / hits[-1], prepend=0)))


def precision_recall(clicked: Bools, probability: Floats, threshold: float) -> tuple[float, float]:
    """Precision and recall of calling a click at or above `threshold`; NaN where nothing is called or clicked."""
    called = probability >= threshold
    hits = float((called & clicked).sum())
    return _ratio(hits, float(called.sum())), _ratio(hits, float(clicked.sum()))


def calibration_ratio(clicked: Bools, probability: Floats) -> float:
    """Predicted clicks for each click; 1 is right. NaN without clicks."""
    return _ratio(float(probability.sum()), float(clicked.sum()))


def expected_calibration_error(clicked: Bools, probability: Floats, *, bins: int = 20) -> float:
    """Mean distance of predicted and observed click rate over `bins` groups of equal size by score.

    Equal sizes, because nearly all click probabilities fall in the first of bins of equal width (Nguyen & O'Connor,
    arXiv 1508.05154).
    """
    order = np.argsort(probability, kind="stable")
    gaps = np.array_split(probability[order] - clicked[order], bins)
    return float(sum(abs(gap.sum()) for gap in gaps) / len(clicked))


def bootstrap_sums(values: Floats, *, resamples: int, seed: int) -> Floats:
    """Sums of each column over resamples of the rows, drawn in blocks of neighbours.

    Neighbours in time share their users and their hour, and a block keeps what they share together.

    Args:
        values: Shape (rows, columns), in the order of time.
        resamples: How often the rows are resampled.
        seed: Equal seeds give equal resamples of equally many rows, so models can be compared pairwise.

    Returns:
        Shape (resamples, columns).
    """
    return resampled_sums(block_sums(values), resamples=resamples, seed=seed)


def block_sums(values: Floats) -> Floats:
    """Sums of each column over the blocks that a bootstrap draws; shape (blocks, columns), however many the rows."""
    starts = np.unique(np.linspace(0, len(values), _BLOCKS, endpoint=False).astype(np.intp))
    return np.asarray(np.add.reduceat(values, starts))


def resampled_sums(blocks: Floats, *, resamples: int, seed: int) -> Floats:
    """Sums of each column over resamples of the blocks; shape (resamples, columns)."""
    counts = np.random.default_rng(seed).poisson(1.0, (resamples, len(blocks)))
    return np.asarray(counts.astype(np.float64) @ blocks)


def interval(resampled: Floats, *, looks: int = 1) -> Interval:
    """The middle 95 % of a metric's resampled values; NaN and NaN when there is none.

    Of `looks` intervals that are looked at together, each is so much wider that all of them hold in 95 % of the cases
    (Bonferroni).
    """
    finite = resampled[np.isfinite(resampled)]
    if not len(finite):
        return Interval(float("nan"), float("nan"))
    tail = 0.025 / looks
    low, high = np.quantile(finite, [tail, 1 - tail])
    return Interval(float(low), float(high))


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else float("nan")
