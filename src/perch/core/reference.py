"""What is fixed before a rollout begins: which latencies and which scores the arms are compared at.

The edges come from the stable arm's counts before the rollout, never from what is tested: an edge chosen by looking at
the canary would void the error bound.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise

from perch.core.policy import Slo
from perch.core.types import Counts, Grid
from perch.errors import RolloutError

_QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99)
_FEWEST = 100  # answers below which the stable arm's quantiles say too little
_PRIOR = 50.0  # weight, in scores, of the prediction that both versions score alike
_LARGEST_EXPECTED = 4.0


@dataclass(frozen=True, slots=True)
class Reference:
    """The events of a rollout, in terms of the histogram grid. Made by `reference`."""

    grid: Grid

    slo: Slo

    latency_edges: tuple[int, ...]
    """Indices into `grid.latency_ms`, ascending: being slower than such an edge is an event. The SLO limit is one."""

    score_starts: tuple[int, ...]
    """First histogram bin of each tested score bin, ascending from 0; empty when scores are not tested."""

    expected: tuple[float, ...]
    """For each tested score bin, how many times as often the canary is predicted to hit it as the stable arm."""

    @property
    def slo_edge(self) -> int:
        """Index into `grid.latency_ms` of the SLO limit."""
        return self.grid.latency_ms.index(self.slo.latency_p99_ms)

    def score_ranges(self) -> Iterator[tuple[int, int]]:
        """Yield the histogram bins of each tested score bin: the first, and the one after the last."""
        return pairwise((*self.score_starts, len(self.grid.score_logit) + 1)) if self.score_starts else iter(())


def reference(stable: Counts, grid: Grid, slo: Slo, expected: tuple[float, ...] | None) -> Reference:
    """Fix the events of a rollout from what the stable arm counted before it.

    Args:
        stable: Counts on `grid`, over minutes at least. With fewer than 100 answers only failures and the SLO are
            tested.
        grid: Histogram edges; the SLO's latency limit must be one of them.
        slo: What users were promised.
        expected: For each score bin of the grid, how many times as often the canary hits it as the stable arm in the
            evaluation of both versions (`len(grid.score_logit) + 1` numbers). `None`: as often.

    Raises:
        RolloutError: the SLO limit is no edge of the grid, or the counts or `expected` do not fit it.
    """
    if slo.latency_p99_ms not in grid.latency_ms:
        raise RolloutError(
            f"The SLO limit of {slo.latency_p99_ms:g} ms is no edge of the latency histogram, so nobody counts what is"
            " slower. Deploy the arms with a histogram that has this edge."
        )
    if not stable.fits(grid) or (expected is not None and len(expected) != len(stable.scores)):
        raise RolloutError("The counts before the rollout were not taken on its histogram grid. Use one grid for both.")
    starts = _score_starts(stable.scores)
    ratios = expected or (1.0,) * len(stable.scores)
    stops = (*starts[1:], len(stable.scores))
    return Reference(
        grid=grid,
        slo=slo,
        latency_edges=_latency_edges(stable, grid, slo),
        score_starts=starts,
        expected=tuple(_ratio(stable.scores[a:b], ratios[a:b]) for a, b in zip(starts, stops, strict=False)),
    )


def _latency_edges(stable: Counts, grid: Grid, slo: Slo) -> tuple[int, ...]:
    """The SLO's limit and the stable arm's quantiles. A quantile below the floor gives the floor: that an arm which
    never took that long now does is worth knowing, however fast the other one is.
    """
    edges = {grid.latency_ms.index(slo.latency_p99_ms)}
    if stable.answered >= _FEWEST:
        floor = bisect_left(grid.latency_ms, slo.latency_floor_ms)
        cumulative = tuple(accumulate(stable.latency))
        found = (bisect_left(cumulative, share * cumulative[-1]) for share in _QUANTILES)
        edges.update(max(i, floor) for i in found if i < len(grid.latency_ms))
    return tuple(sorted(edges))


def _score_starts(scores: tuple[int, ...]) -> tuple[int, ...]:
    """Start a new bin after each decile; snapped to the grid, several deciles may fall on one edge and become one."""
    cumulative = tuple(accumulate(scores))
    if cumulative[-1] < _FEWEST:
        return ()
    ends = {bisect_left(cumulative, tenth * cumulative[-1] / 10) for tenth in range(1, 10)}
    starts = (0, *sorted(end + 1 for end in ends if cumulative[end] < cumulative[-1]))
    return starts if len(starts) > 1 else ()


def _ratio(counts: tuple[int, ...], ratios: tuple[float, ...]) -> float:
    """Average the predicted ratios of a bin by the stable arm's counts, drawn towards 1 by `_PRIOR` further scores."""
    hits = sum(n * ratio for n, ratio in zip(counts, ratios, strict=True))
    smoothed = (hits + _PRIOR) / (sum(counts) + _PRIOR)
    return min(max(smoothed, 1 / _LARGEST_EXPECTED), _LARGEST_EXPECTED)
