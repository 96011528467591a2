"""How far two distributions over the same bins are from each other.

PSI = sum of (q - p) ln(q / p) (Yurdakul and Naranjo, *Statistical properties of the population stability index*, 2020),
and the Jensen-Shannon distance, the square root of the mean divergence from the middle of both, in nats (Endres and
Schindelin, *A new metric for probability distributions*, 2003). PSI weighs what has become rare or common; the distance
is bounded by sqrt(ln 2), so columns can be compared by it.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]


_PART = 65_536
"""Rows that are looked up at a time: what is held beside the values stays in the processor's cache."""


def binned(values: Floats, edges: ArrayLike) -> NDArray[np.int64]:
    """Count numbers in bins of which each edge is the highest value, and NaN in one more bin, the last one."""
    cuts = np.asarray(edges, np.float64)
    counts = np.zeros(len(cuts) + 2, np.int64)
    for start in range(0, len(values), _PART):
        part = values[start : start + _PART]
        missing = np.isnan(part)
        counts[:-1] += np.bincount(np.searchsorted(cuts, part), minlength=len(cuts) + 1)
        nans = int(missing.sum())  # a search puts them beyond the last edge
        counts[-2:] += (-nans, nans)
    return counts


def shares(counts: ArrayLike) -> Floats:
    """Shares of bins, along the last axis; half a row is added to each, so that none is 0 (Jeffreys' prior)."""
    smoothed = np.asarray(counts, np.float64) + 0.5
    return np.asarray(smoothed / smoothed.sum(axis=-1, keepdims=True))


def stability_index(before: ArrayLike, after: ArrayLike) -> Floats:
    """PSI of shares above 0, along the last axis; 0 for equal ones."""
    p, q = np.asarray(before, np.float64), np.asarray(after, np.float64)
    return np.asarray(((q - p) * np.log(q / p)).sum(axis=-1))


def jensen_shannon(before: ArrayLike, after: ArrayLike) -> Floats:
    """Jensen-Shannon distance of shares above 0, along the last axis: 0 for equal ones, at most sqrt(ln 2)."""
    p, q = np.asarray(before, np.float64), np.asarray(after, np.float64)
    middle = (p + q) / 2
    divergence = (p * np.log(p / middle) + q * np.log(q / middle)).sum(axis=-1) / 2
    return np.asarray(np.sqrt(np.maximum(divergence, 0.0)))
