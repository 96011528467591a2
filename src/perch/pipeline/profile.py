"""Step 5, too: what the inputs of a model look like, so that serving can tell when they look otherwise.

The rows are those of the evaluation window: the latest there are, and the model's scores of them are of rows that it
has not learnt. Of randomly shown ads only, where the log knows them: they are like the candidates that serving is asked
about, where the others were selected.
"""

from collections.abc import Sequence
from itertools import combinations, pairwise
from math import ceil, inf, log2, nextafter

import numpy as np
from numpy.typing import NDArray

from perch.core.chance import limit
from perch.core.divergence import binned, shares, stability_index
from perch.pipeline.attributions import attributions
from perch.pipeline.features import Prepared, typical
from perch.workload.features import Floats, Matrix, Transform
from perch.workload.model import Scorer
from perch.workload.profile import LEVELS, NO_LEVEL, SCORE, Column, Pair, Profile, column_bins, number_bins

Bins = NDArray[np.intp]

_ROWS = 50_000
_BINS = 16
_TOP = 12
_TOP_SHARE = 0.01
_CHUNK_ROWS = 200
_CHUNKS = 100
_PARTNERS = 2
_APART = 0.2  # PSI that a pair has when it is torn apart; what has less could not be told from a tolerated drift


def profile(scorer: Scorer, prepared: Prepared) -> Profile:
    """Count the inputs and the scores of the evaluation window, in the order of time.

    Of more than 50,000 rows, as many that are evenly spread.
    """
    frame = typical(prepared, _ROWS)
    transform = scorer.transform
    matrix = transform.transform_frame(frame)
    bare = [_number(name, matrix.values[:, i]) for i, name in enumerate(transform.columns.numeric)]
    bare += [_category(name, matrix.slots[i], transform) for i, name in enumerate(transform.columns.categorical)]
    found = [column_bins(column, i, matrix, transform) for i, column in enumerate(bare)]
    columns = tuple(_counted(column, bins) for column, bins in zip(bare, found, strict=True))
    levels = [np.array(column.levels)[bins] for column, bins in zip(columns, found, strict=True)]
    return Profile(columns, tuple(_pairs(levels)), _score(scorer, matrix), attributions(scorer, matrix.values))


def _number(name: str, values: Floats) -> Column:
    known = values[~np.isnan(values)]
    edges = number_edges(known) if len(known) else ()
    counts = binned(known, edges)[:-1]
    middle = (np.cumsum(counts) - counts / 2) / max(len(known), 1)
    levels = np.minimum(middle * NO_LEVEL, NO_LEVEL - 1).astype(int)
    return Column(name, edges, None, (*levels.tolist(), NO_LEVEL), (), 0.0)


def number_edges(known: Floats) -> tuple[float, ...]:
    """The edges of bins of about equal share, each at the shortest binary number near the quantile.

    Quantiles of two trainings differ by chance; such numbers seldom do, so most bins of two versions are the same. All
    values lie between the first edge and the last one.
    """
    lowest = float(known.min())
    marks = np.unique(np.quantile(known, np.arange(1, _BINS + 1) / _BINS, method="inverted_cdf")).tolist()
    steps = [high - low for low, high in pairwise(marks)] or [max(abs(lowest), 1.0)]
    below = 0.0 - _shortest(nextafter(-lowest, inf), steps[0] / 2 - lowest)
    inner = [_shortest(low, (low + high) / 2) for low, high in pairwise(marks)]
    return (below, *inner, _shortest(marks[-1], marks[-1] + steps[-1] / 2))


def _shortest(low: float, high: float) -> float:
    """The number of fewest binary digits between two, the lower of which counts."""
    if low <= 0 <= high:
        return 0.0
    exponent = ceil(log2(max(abs(low), abs(high))))
    for power in range(exponent, exponent - 53, -1):
        candidate = ceil(low / 2.0**power) * 2.0**power
        if candidate <= high:
            return candidate
    return low


def _category(name: str, slots: Bins, transform: Transform) -> Column:
    known = slots[(slots >> transform.settings.bits == 0) & (transform.impressions[slots] > 0)]
    values, counts = np.unique(known, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_TOP]
    top = values[order[counts[order] >= _TOP_SHARE * len(slots)]]
    odds = transform.log_odds
    edges = np.unique(np.quantile(odds[known], [0.25, 0.5, 0.75], method="inverted_cdf")) if len(known) else np.empty(0)
    edges = edges[edges < odds[known].max(initial=-np.inf)]
    levels = [*np.searchsorted(edges, odds[top]).tolist(), *range(len(edges) + 1), NO_LEVEL, NO_LEVEL]
    return Column(name, tuple(edges.tolist()), tuple(top.tolist()), tuple(levels), (), 0.0)


def _counted(column: Column, bins: Bins) -> Column:
    rows = np.bincount(bins, minlength=len(column.bins))
    return Column(
        column.name, column.edges, column.top, column.levels, tuple(rows.tolist()), _natural(bins, len(column.bins))
    )


def _score(scorer: Scorer, matrix: Matrix) -> Column:
    probability = scorer.predict(matrix.values)
    logits = np.log(probability / (1 - probability))
    column = _number(SCORE, logits)
    return _counted(column, number_bins(column, logits))


def _pairs(levels: Sequence[Bins]) -> list[Pair]:
    """For each column the two others that it depends on most, where that is enough to be missed."""
    joint = {
        (a, b): np.bincount(levels[a] * LEVELS + levels[b], minlength=LEVELS**2)
        for a, b in combinations(range(len(levels)), 2)
    }
    apart = {pair: _apart(counts) for pair, counts in joint.items()}
    chosen: set[tuple[int, int]] = set()
    for column in range(len(levels)):
        others = sorted((pair for pair in joint if column in pair and apart[pair] > _APART), key=lambda p: -apart[p])
        chosen |= set(others[:_PARTNERS])
    return [
        Pair(a, b, tuple(joint[a, b].tolist()), _natural(levels[a] * LEVELS + levels[b], LEVELS**2))
        for a, b in sorted(chosen)
    ]


def _apart(counts: NDArray[np.intp]) -> float:
    """PSI of two columns against themselves, once each has come to any row of the other."""
    joint = shares(counts).reshape(LEVELS, LEVELS)
    alone = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    return float(stability_index(joint.ravel(), alone.ravel()))


def _natural(bins: Bins, width: int) -> float:
    """The largest PSI of a part of the rows against all of them, above what parts of such a size have by chance."""
    parts = np.array_split(bins, min(max(len(bins) // _CHUNK_ROWS, 1), _CHUNKS))
    whole = np.bincount(bins, minlength=width)
    expected = shares(whole)
    found = [stability_index(expected, shares(np.bincount(part, minlength=width))) for part in parts]
    chance = limit(tuple(whole.tolist()), len(parts[0]), 0.05 / len(parts))
    return max(0.0, float(max(found)) - chance)
