"""Have the scores of a version moved away from what they were when it was new?

A version is fixed, so its scores move only when what it is asked about does: unknown ads, other users, an input that
has gone missing. The population stability index compares two histograms over the deciles of the first,

    PSI = sum over bins of (q - p) ln(q / p),

which is 0 for equal shares. Without drift it is near bins x (1/n + 1/m), here 0.01; above 0.25 a change is by custom
taken for large. (Yurdakul and Naranjo, *Statistical properties of the population stability index*, 2020.)

The first hour is the reference, not the registered evaluation: what a service is asked about are candidates, and the
rows of a log were selected among them.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from math import log
from operator import add

Histogram = tuple[int, ...]

WINDOW_ROWS = 2_000
WINDOW_S = 3_600.0


@dataclass(frozen=True, slots=True)
class Drift:
    """What is known of one version's scores."""

    reference: Histogram = ()
    """Of the version's first window; empty until that is full."""

    recent: Histogram = ()
    recent_s: float = 0.0
    """Length of the window in progress."""

    psi: float | None = None
    """Of the last full window."""

    def after(self, scores: Histogram, elapsed_s: float) -> "Drift":
        """What is known after `elapsed_s` seconds with these counts by score bin; empty: nothing was counted.

        A window is full after 2,000 scores and an hour.
        """
        if not scores:
            return self
        recent = tuple(map(add, self.recent, scores)) if self.recent else scores
        grown = replace(self, recent=recent, recent_s=self.recent_s + elapsed_s)
        if sum(recent) < WINDOW_ROWS or grown.recent_s < WINDOW_S:
            return grown
        rested = replace(grown, recent=(), recent_s=0.0)
        if not self.reference:
            return replace(rested, reference=recent)
        return replace(rested, psi=stability_index(self.reference, recent))


def stability_index(reference: Sequence[int], found: Sequence[int]) -> float:
    """The PSI of two histograms over the same bins, each with counts in it; half a row is added to each decile."""
    starts = _decile_starts(reference)
    before, after = (_shares(histogram, starts) for histogram in (reference, found))
    return sum((q - p) * log(q / p) for p, q in zip(before, after, strict=True))


def _decile_starts(reference: Sequence[int]) -> list[int]:
    cumulative = tuple(accumulate(reference))
    ends = {bisect_left(cumulative, tenth * cumulative[-1] / 10) + 1 for tenth in range(1, 10)}
    return sorted({0, *(end for end in ends if end < len(reference))})


def _shares(histogram: Sequence[int], starts: Sequence[int]) -> list[float]:
    counts = [sum(histogram[start:stop]) + 0.5 for start, stop in pairwise((*starts, len(histogram)))]
    return [count / sum(counts) for count in counts]
