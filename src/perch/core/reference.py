"""What is fixed before a rollout begins: which latencies and which scores the arms are compared at.

The latency edges come from the stable arm's counts before the rollout, never from what is tested: an edge chosen by
looking at the canary would void the error bound.

A new model is meant to score differently, so "differs from the champion" is no harm by itself. Both versions were
evaluated on rows of the same kind; the ratio of their score histograms is what the rollout may expect to see live. A
feature that arrives otherwise than in training, or a model that answers a constant, breaks it. The prediction is taken
as it is: drawn towards "as the champion" it would convict a version that scores as it did in evaluation.
"""

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from perch.core.policy import Slo
from perch.core.types import Counts, Grid
from perch.errors import RolloutError

_QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99)
_FEWEST = 100  # answers below which the stable arm's quantiles say too little
_FEWEST_ROWS = 200  # of each version in a score bin: the predicted ratio has an error of about 10 % then

Histogram = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """The events of a rollout, in terms of the histogram grid. Made by `reference`."""

    grid: Grid

    slo: Slo

    latency_edges: tuple[int, ...]
    """Indices into `grid.latency_ms`, ascending: being slower than such an edge is an event. The SLO limit is one."""

    latency_shares: tuple[float, ...]
    """Share of the stable arm's answers that were slower than each edge before the rollout; 0 where too few were."""

    score_starts: tuple[int, ...]
    """First histogram bin of each tested score bin, ascending from 0; empty when scores are not tested."""

    expected: tuple[float, ...]
    """For each tested score bin, how many times as often the canary is predicted to hit it as the stable arm."""

    champion_loss: float | None = None
    """Log loss of the champion in its evaluation: the scale on which a difference of losses is small."""

    slo_edge: int = field(init=False, compare=False)
    """Index into `grid.latency_ms` of the SLO limit."""

    slo_event: int = field(init=False, compare=False)
    """Position among the events of being slower than the SLO allows."""

    score_bounds: tuple[int, ...] = field(init=False, compare=False)
    """`score_starts` and the number of histogram bins: a tested score bin goes from one of these to before the next."""

    def __post_init__(self) -> None:
        """Look up once what every tick needs."""
        edge = self.grid.latency_ms.index(self.slo.latency_p99_ms)
        bins = len(self.grid.score_logit) + 1
        object.__setattr__(self, "slo_edge", edge)
        object.__setattr__(self, "slo_event", 1 + self.latency_edges.index(edge))
        object.__setattr__(self, "score_bounds", (*self.score_starts, bins) if self.score_starts else ())

    def __hash__(self) -> int:
        return hash((self.slo, self.latency_edges, self.score_starts, self.expected))  # not the grid: it is long

    @property
    def score_ranges(self) -> tuple[tuple[int, int], ...]:
        """The histogram bins of each tested score bin: the first, and the one after the last."""
        return tuple(pairwise(self.score_bounds))

    @property
    def untested(self) -> tuple[str, ...]:
        """What this rollout cannot see, in words; empty when everything is tested."""
        what = []
        if not self.score_starts:
            what.append("scores, for the evaluations of both versions do not say what to expect")
        if self.latency_edges == (self.slo_edge,):
            what.append("latency other than the SLO's, for the champion has answered too little")
        return tuple(what)


def reference(
    stable: Counts,
    grid: Grid,
    slo: Slo,
    evaluated: tuple[Histogram, Histogram] | None,
    champion_loss: float | None = None,
) -> Reference:
    """Fix the events of a rollout from what is known before it.

    Args:
        stable: What the stable arm counted on `grid`, over minutes at least. With fewer than 100 answers no latency but
            the SLO's is tested.
        grid: Histogram edges; the SLO's latency limit must be one of them.
        slo: What users were promised.
        evaluated: Scores of the champion and of the canary in the evaluation of each, by score bin of the grid
            (`len(grid.score_logit) + 1` numbers each). Without them, or on another grid, scores are not tested.
        champion_loss: Log loss of the champion in its evaluation, nats a request; without it labels of requests that
            both versions scored are not tested.

    Raises:
        RolloutError: the SLO limit is no edge of the grid, or the counts do not fit it.
    """
    if slo.latency_p99_ms not in grid.latency_ms:
        raise RolloutError(
            f"The SLO limit of {slo.latency_p99_ms:g} ms is no edge of the latency histogram, so nobody counts what is"
            " slower. Deploy the arms with a histogram that has this edge."
        )
    if not stable.fits(grid):
        raise RolloutError("The counts before the rollout were not taken on its histogram grid. Use one grid for both.")
    champion, canary = evaluated or ((), ())
    fits = len(champion) == len(canary) == len(grid.score_logit) + 1
    starts = _score_starts(champion, canary) if fits else ()
    edges = _latency_edges(stable, grid, slo)
    cumulative = tuple(accumulate(stable.latency))
    return Reference(
        grid=grid,
        slo=slo,
        latency_edges=edges,
        latency_shares=tuple(1 - cumulative[edge] / max(cumulative[-1], 1) for edge in edges),
        score_starts=starts,
        expected=_expected(champion, canary, starts),
        champion_loss=champion_loss,
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


def _score_starts(champion: Histogram, canary: Histogram) -> tuple[int, ...]:
    """Start a new bin after each decile of the champion's, unless one of the versions has too few rows in it.

    Such a bin is joined with the next: a ratio of few rows predicts little. With fewer than two bins nothing is tested.
    """
    cumulative = tuple(accumulate(champion))
    ends = {bisect_left(cumulative, tenth * cumulative[-1] / 10) for tenth in range(1, 10)}
    starts = [0]
    for start in sorted(end + 1 for end in ends):
        if _has_rows(champion, canary, starts[-1], start) and _has_rows(champion, canary, start, len(champion)):
            starts.append(start)
    return tuple(starts) if len(starts) > 1 else ()


def _has_rows(champion: Histogram, canary: Histogram, start: int, stop: int) -> bool:
    return min(sum(champion[start:stop]), sum(canary[start:stop])) >= _FEWEST_ROWS


def _expected(champion: Histogram, canary: Histogram, starts: tuple[int, ...]) -> tuple[float, ...]:
    """Ratio of the shares of the same bins in both evaluations."""
    bins = pairwise((*starts, len(champion))) if starts else ()
    scale = sum(champion) / max(sum(canary), 1)
    return tuple(scale * sum(canary[start:stop]) / sum(champion[start:stop]) for start, stop in bins)
