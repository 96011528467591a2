"""A seeded market: the same rollout a thousand times at once, against traffic whose truth is known.

A rule that decides on chance can be judged only by how often it is right, so everything here is an array over the
replications of one scenario. Arrivals are Poisson and every request is routed by a coin of its own; by Poisson thinning
the arms' arrivals are then independent Poisson streams, which is how they are drawn. Latency is lognormal with a median
of 80 ms and a p99 of 300 ms, scores are N(0, 1) in log-odds; both are drawn as histograms, by their bins.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from math import exp, inf, log
from statistics import NormalDist
from typing import Self

import numpy as np
from numpy.typing import NDArray

from perch.core.policy import Slo
from perch.core.types import Arm, Counts, Grid

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_NORMAL = NormalDist()
_MEDIAN_MS = 80.0
_SIGMA = log(300.0 / _MEDIAN_MS) / _NORMAL.inv_cdf(0.99)
_BURST_FACTOR = 2.0
_BURST_S = 30.0
_QUIET_S = 270.0

SLO = Slo(latency_p99_ms=500.0)
"""What the users of this market were promised."""

GRID = Grid(
    latency_ms=(
        *(_MEDIAN_MS * exp(_SIGMA * _NORMAL.inv_cdf(q)) for q in (0.5, 0.75, 0.9, 0.95, 0.99)),
        SLO.latency_p99_ms,
    ),
    score_logit=tuple(_NORMAL.quantiles(10)),
)
"""Edges at the quantiles of a good version's latency and at the SLO, and at the deciles of its scores."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a version answers at one moment."""

    error_rate: float = 0.001
    """Share of its requests that fail, 0 to 1."""

    latency_factor: float = 1.0
    """Its answers take this many times as long as a good version's."""

    score_scale: float = 1.0
    """Its scores are N(0, score_scale²) in log-odds; 0: every request gets the same score."""

    silent: bool = False
    """It answers nothing, and none of its counters moves."""


GOOD = Behaviour()

Timeline = Callable[[float], Behaviour]
"""How a version answers, by the seconds since the rollout began."""


def good(_now_s: float) -> Behaviour:
    """A version that always answers as the champion should."""
    return GOOD


def always(behaviour: Behaviour) -> Timeline:
    """A version that never changes."""
    return lambda _now_s: behaviour


def steady(_now_s: float) -> float:
    """The load of a service that is used alike at all times."""
    return 1.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """Who asks how often, and how each version answers."""

    rps: float
    """Mean requests per second at a load of 1."""

    stable: Timeline = good
    """How the champion answers."""

    canary: Timeline = good
    """How the challenger answers, live and mirrored."""

    baseline: Timeline | None = None
    """How the baseline arm answers; `None`: as the champion."""

    bursts: bool = False
    """Whether all arms together take twice as long now and then: 30 s on average, about every 5 minutes."""

    load: Callable[[float], float] = steady
    """Arrivals as a multiple of `rps`, by the seconds since the rollout began."""

    def behaviour(self, arm: Arm, now_s: float) -> Behaviour:
        """How `arm` answers at `now_s`."""
        if arm in {Arm.CANARY, Arm.SHADOW}:
            return self.canary(now_s)
        return self.baseline(now_s) if arm is Arm.BASELINE and self.baseline else self.stable(now_s)


@dataclass(frozen=True, slots=True)
class Split:
    """Where the traffic goes: `perch.core.types.Weights` for R replications, each field `(R,)`.

    The live shares add up to 1. All 0 takes a replication out: it gets no requests and costs next to nothing.
    """

    baseline: Floats
    stable: Floats
    canary: Floats
    mirror: Floats

    @classmethod
    def between(cls, canary: Floats, baseline: float = 0.0) -> Self:
        """Give the canary and the baseline arm these shares, and the stable arm the rest; mirror nothing."""
        fixed = np.full_like(canary, baseline)
        return cls(baseline=fixed, stable=1.0 - canary - fixed, canary=canary, mirror=np.zeros_like(canary))

    def only(self, mask: Mask) -> Self:
        """The same, without traffic for the replications that are not in `mask` `(R,)`."""
        return type(self)(self.baseline * mask, self.stable * mask, self.canary * mask, self.mirror * mask)


@dataclass(frozen=True, slots=True)
class Served:
    """What one arm did in R replications, over one tick or several; on `GRID`."""

    failed: Ints
    """Requests that ended in an error, `(R,)`."""

    latency: Ints
    """Answered requests by latency bin, `(R, L + 1)`."""

    scores: Ints
    """Answered requests by score bin, `(R, S + 1)`."""

    lost: Ints
    """Requests that a silent version never answered and that no counter shows, `(R,)`."""

    @classmethod
    def none(cls, replications: int) -> Self:
        """Nothing at all."""
        nobody = np.zeros(replications, dtype=np.int64)
        latency = np.zeros((replications, len(GRID.latency_ms) + 1), dtype=np.int64)
        scores = np.zeros((replications, len(GRID.score_logit) + 1), dtype=np.int64)
        return cls(nobody, latency, scores, nobody)

    @property
    def answered(self) -> Ints:
        """Requests that got a valid answer, `(R,)`."""
        answered: Ints = self.latency.sum(axis=1)
        return answered

    @property
    def finished(self) -> Ints:
        """Requests that the arm counted, `(R,)`: each ends in the tick in which it began."""
        return self.failed + self.answered

    @property
    def slow(self) -> Ints:
        """Answers later than the SLO's limit, `(R,)`."""
        return self.latency[:, -1]

    @property
    def bad(self) -> Ints:
        """Requests that failed, came late or were never answered, `(R,)`."""
        return self.failed + self.slow + self.lost

    def counts(self, replication: int) -> Counts:
        """What the arm's counters show in one replication."""
        return Counts(
            requests=int(self.finished[replication]),
            failed=int(self.failed[replication]),
            latency=tuple(self.latency[replication].tolist()),
            scores=tuple(self.scores[replication].tolist()),
        )

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.failed + other.failed,
            self.latency + other.latency,
            self.scores + other.scores,
            self.lost + other.lost,
        )


class Market:
    """R replications of one scenario, a second at a time."""

    def __init__(self, traffic: Traffic, replications: int, seed: int) -> None:
        self.now_s = 0
        self._traffic = traffic
        self._rng = np.random.default_rng(seed)
        self._idle = Served.none(replications)
        self._bursting: Mask = self._rng.random(replications) < traffic.bursts * _BURST_S / (_BURST_S + _QUIET_S)

    def tick(self, split: Split) -> Mapping[Arm, Served]:
        """Serve the next second under `split`: what each arm did, the mirrored requests under `Arm.SHADOW`."""
        expected = self._traffic.rps * self._traffic.load(self.now_s)
        live = {
            Arm.BASELINE: self._rng.poisson(expected * split.baseline),
            Arm.STABLE: self._rng.poisson(expected * split.stable),
            Arm.CANARY: self._rng.poisson(expected * split.canary),
        }
        mirrored = self._rng.binomial(sum(live.values()), split.mirror)
        arrivals = {**live, Arm.SHADOW: mirrored}
        served = {arm: self._serve(n, self._traffic.behaviour(arm, self.now_s)) for arm, n in arrivals.items()}
        self.now_s += 1
        if self._traffic.bursts:
            self._change_bursts()
        return served

    def _serve(self, requests: Ints, behaviour: Behaviour) -> Served:
        if not requests.any():
            return self._idle
        if behaviour.silent:
            return replace(self._idle, lost=requests)
        failed = self._rng.binomial(requests, behaviour.error_rate)
        answered = requests - failed
        factors = behaviour.latency_factor, behaviour.latency_factor * _BURST_FACTOR
        latency_shares = np.stack([_latency_shares(factor) for factor in factors])[self._bursting.astype(int)]
        return Served(
            failed=failed,
            latency=self._rng.multinomial(answered, latency_shares),
            scores=self._rng.multinomial(answered, _score_shares(behaviour.score_scale)),
            lost=self._idle.lost,
        )

    def _change_bursts(self) -> None:
        """A burst ends, or a quiet time does, with the same chance in each second: both are memoryless."""
        chance = np.where(self._bursting, 1.0 / _BURST_S, 1.0 / _QUIET_S)
        self._bursting ^= self._rng.random(len(chance)) < chance


@lru_cache
def _latency_shares(factor: float) -> Floats:
    """Shares of the latency bins, `(L + 1,)`."""
    return _shares(log(edge_ms / (_MEDIAN_MS * factor)) / _SIGMA for edge_ms in GRID.latency_ms)


@lru_cache
def _score_shares(scale: float) -> Floats:
    """Shares of the score bins, `(S + 1,)`."""
    if scale == 0:
        constant = np.zeros(len(GRID.score_logit) + 1)
        constant[np.searchsorted(GRID.score_logit, 0.0)] = 1.0
        return constant
    return _shares(edge / scale for edge in GRID.score_logit)


def _shares(edges: Iterable[float]) -> Floats:
    """Probabilities of N(0, 1) between the ascending `edges` and beyond them."""
    return np.array([_NORMAL.cdf(high) - _NORMAL.cdf(low) for low, high in pairwise((-inf, *edges, inf))])
