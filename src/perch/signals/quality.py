"""How well a version predicts, in sums that can be added over versions, arms, slices and times.

A request counts when its attribution window is over, and never before: a young one that was not clicked may be clicked
yet. Until then there is an **estimate**: the same sums with the predicted probability in the label's place, which is
what they come to if the model is calibrated (performance estimation by confidence, as NannyML's CBPE has it). An
estimate says nothing of how calibrated the model is.

Scores are counted in bins a quarter wide in log-odds. From these come the calibration by bin, precision and recall at
each edge, and the area under the ROC curve, by which the bins of two rows that cannot be told apart count half.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

EDGES: Final = tuple(i / 4 for i in range(-32, 9))
"""In log-odds: 0.03 % to 88 %. A bin goes up to its edge; one more lies above the last."""

MATURED: Final = "matured"
ESTIMATED: Final = "estimated"

_SMALLEST = 1e-9


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over requests; they are added with `+`."""

    requests: int = 0
    clicks: float = 0.0
    expected: float = 0.0
    """Of the predicted probabilities."""

    loss: float = 0.0
    """Of the log losses, in nats."""

    loss_squared: float = 0.0

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Quality:
    """Sums over the live requests of one version in one arm."""

    kind: str
    """`MATURED` or `ESTIMATED`."""

    model: str
    version: str
    arm: str
    slice: str
    """Empty: all requests."""

    part: str
    bins: tuple[Sums, ...]
    """By the score, one more than `EDGES`; of a slice all stand in the first one."""

    @property
    def total(self) -> Sums:
        """Over all bins."""
        return sum(self.bins, start=Sums())


def sums_by_bin(scores: NDArray[np.float64], labels: NDArray[np.float64]) -> dict[int, Sums]:
    """Sum up requests by the bin of their score; bins without requests are left out.

    Args:
        scores: Predicted probabilities, one for each request.
        labels: 1 or 0 each, or the probability of 1.
    """
    probability = np.clip(scores, _SMALLEST, 1 - _SMALLEST)
    if_clicked, if_not = -np.log(probability), -np.log1p(-probability)
    bins = np.searchsorted(EDGES, if_not - if_clicked, side="left")

    def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(bins, values).astype(np.float64)

    columns = (
        total(labels),
        total(scores),
        total(labels * if_clicked + (1 - labels) * if_not),
        total(labels * if_clicked**2 + (1 - labels) * if_not**2),
    )
    counts = np.bincount(bins)
    return {int(one): Sums(int(counts[one]), *(float(c[one]) for c in columns)) for one in np.flatnonzero(counts)}


def clicks_above(bins: Sequence[Sums]) -> list[float]:
    """For each bin the clicks of higher scores, and half of its own: what a row of it that is not clicked loses to."""
    clicks = np.array([one.clicks for one in bins])
    above: list[float] = (clicks[::-1].cumsum()[::-1] - clicks / 2).tolist()
    return above


def area_under_curve(bins: Sequence[Sums]) -> float | None:
    """Share of the pairs of a clicked and an unclicked request in which the clicked one scored higher.

    `None` while there is no such pair.
    """
    not_clicked = [one.requests - one.clicks for one in bins]
    pairs = sum(one.clicks for one in bins) * sum(not_clicked)
    won = sum(few * above for few, above in zip(not_clicked, clicks_above(bins), strict=True))
    return won / pairs if pairs > 0 else None
