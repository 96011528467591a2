"""The split-conditional e-process: given that an event happened, which arm did it come from?

Let s be the canary's share of the requests of a tick, and rho how many times as likely the event is in the canary as in
the other arm. A share pi(rho) = s rho / (s rho + 1 - s) of the events then falls on the canary. For a null ratio rho0
and an alternative rho1, with x events in the canary and y in the other arm, the increment is

    l = x ln(pi(rho1) / pi(rho0)) + y ln((1 - pi(rho1)) / (1 - pi(rho0))) = x ln A + y ln B.

**Why it is valid.** Let rho1 > rho0, so A > 1 > B. Given the numbers of requests n_c and n_s, and that outcomes are
independent given everything the arms share (load, hour, incident), 1 + z <= exp(z) gives

    E exp(l) <= exp(n_c p_c (A - 1) + n_s p_s (B - 1)),

where the exponent has the sign of pi(rho) (A - 1) + (1 - pi(rho)) (B - 1): 0 at rho = rho0 and below 0 under it. So
exp(l) is at most 1 in expectation for **every** pair of rates with p_c <= rho0 p_s, whatever they are and however they
move from tick to tick, and its running product is a test supermartingale. The ratio of harm, the tolerance and the
prediction of score shares only choose rho0; any rho0 fixed before the rollout keeps the argument, with both signs
turned for rho1 < rho0. When the same requests are split at random x is hypergeometric given x + y, which the binomial
dominates in convex order, and the bound holds again. Mirrored requests are answered by both arms: what makes a request
hard moves x and y together, which lowers E A^x B^y further. (After Lindon and Malek, arXiv 2011.03567.)

**Assumed**: within a tick, which arm a request went to says nothing about how hard it was. The share is the observed
one, so a change of weights, a burst or a missed tick needs no care.

Slow answers come in clusters: a process that stops for 200 ms delays all that it holds. So the increment of a latency
event is cut at 2 in each tick: no single tick can convict, and what is cut from above stays a supermartingale.

Averages of e-processes are e-processes whatever their dependence (Vovk and Wang, arXiv 1912.06116): so they are mixed
over ratios, over the moment at which harm began, and over events. By Ville's inequality the average ever reaches
1/alpha with a probability of at most alpha if the canary does no harm: one bound for all looks and all events together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perch.core.events import FAILED, Tally
from perch.core.policy import Policy
from perch.core.reference import Reference
from perch.core.vector import Floats

_HARM_RATIOS = {2.0: 1, 4.0: 2, 10.0: 4, 30.0: 5, 100.0: 4, 300.0: 2}  # and how often each is bet on
_SCORE_RATIOS = (2.0, 3.0, 5.0, 10.0)  # a decile cannot be hit a hundred times as often
_MILD_RATIOS = (1.0, 0.5, 0.2)  # alternatives when it is harm that is to be disproved
_GROUP_WEIGHTS = (0.65, 0.2, 0.15)  # errors, latency, scores
_CONSTANT_SHARE = 0.5  # of the scores' weight: on all scores falling into one bin
_LARGEST_LATENCY_INCREMENT = 2.0
_LARGEST_INCREMENT = 300.0
_LARGEST_WEALTH = 1e150  # with the line above: keeps products and sums finite, and so their JSON

_PROMOTION_RATIO = 2.0
_EXONERATION_RATIO = 3.0
CLEARING = 2 * len(_MILD_RATIOS)
"""Number of the bets that clear: of failures, then of SLO violations."""

_FINISHED, _ANSWERED, _SCORED = range(3)
Positions = NDArray[np.intp]


class Comparable(NamedTuple):
    """What two arms counted, as the increments need it. Leading axes, if any, are many rollouts at once."""

    hits: Floats
    """Events in the arm under suspicion, shape (..., events)."""

    total: Floats
    """Events in both arms, shape (..., events)."""

    share: Floats
    """Share of the finished, of the answered and of the scored requests that were the first arm's, shape (..., 3)."""


def comparable(canary: Tally, other: Tally) -> Comparable:
    """Two arms' counts of one tick, side by side."""
    hits = np.array(canary.hits, dtype=np.float64)
    share = np.array(
        (
            canary.finished / ((canary.finished + other.finished) or 1),
            canary.answered / ((canary.answered + other.answered) or 1),
            canary.scored / ((canary.scored + other.scored) or 1),
        )
    )
    return Comparable(hits, hits + np.array(other.hits, dtype=np.float64), share)


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """Bets on a pair of arms. A test is one event with one alternative; a bet is on one test, or on several together.

    The first bets clear the arm under suspicion: each says that an event is not so much as a given ratio times as
    frequent in it. All others blame it, and together they are one mixture. The last bets say "all scores fall into one
    bin": that bin up and all others down. A request's score lies in one bin, so E exp of the sum of increments is again
    at most exp of a sum of terms that are not positive.
    """

    event: Positions
    """Event of each test, shape (tests,)."""

    exposure: Positions
    """Which of the three shares a test's event goes by, shape (tests,)."""

    null: Floats
    """Ratio that each test excludes, minus 1, shape (tests,)."""

    alternative: Floats
    """Ratio that it bets on, minus 1, shape (tests,)."""

    gain: Floats
    """ln(alternative / null), shape (tests,)."""

    largest: Floats
    """The most that a test can gain in one tick, shape (tests,)."""

    up: Positions
    """Test by which each score bin is hit more often, shape (bins,); no bins where scores are not tested."""

    down: Positions
    """Test by which each score bin is hit less often, shape (bins,)."""

    about: Positions
    """Event that each bet is about, shape (bets,)."""

    prior: Floats
    """Share of the mixture of each bet that blames, shape (bets - CLEARING,)."""

    def increments(self, counted: Comparable) -> Floats:
        """The increment l of each bet, shape (..., bets).

        With D(rho) = s rho + 1 - s it is x ln(rho1 / rho0) - (x + y) (ln D(rho1) - ln D(rho0)): 0 where an arm was not
        exposed.
        """
        share = counted.share.take(self.exposure, axis=-1)
        spread = np.log1p(share * self.alternative) - np.log1p(share * self.null)
        hits, total = counted.hits.take(self.event, axis=-1), counted.total.take(self.event, axis=-1)
        tests: Floats = np.minimum(hits * self.gain - total * spread, self.largest)
        if not self.down.size:
            return tests
        emptied = tests.take(self.down, axis=-1)
        constant = tests.take(self.up, axis=-1) - emptied + np.add.reduce(emptied, axis=-1, keepdims=True)
        return np.concatenate((tests, np.minimum(constant, _LARGEST_INCREMENT)), axis=-1)

    def bet(self, wealth: Floats, counted: Comparable) -> Floats:
        """Wealth of each bet after a tick, shape (..., bets)."""
        grown: Floats = wealth * np.exp(self.increments(counted))
        return np.minimum(grown, _LARGEST_WEALTH)

    def start(self, mass: float) -> Floats:
        """Wealth at the start, with `mass` of the mixture put to work, shape (bets,)."""
        return np.concatenate((np.full(CLEARING, 1 / len(_MILD_RATIOS)), mass * self.prior))

    def more(self, wealth: Floats, mass: float | Floats) -> Floats:
        """Wealth after putting further `mass` to work, shape (..., 1): on a harm that begins now."""
        after = wealth.copy()
        after[..., CLEARING:] += mass * self.prior
        return after

    def uncleared(self, wealth: Floats) -> Floats:
        """Wealth with the bets that clear back at their start."""
        after = wealth.copy()
        after[..., :CLEARING] = 1 / len(_MILD_RATIOS)
        return after

    def harm(self, wealth: Floats) -> Floats:
        """Wealth of the bets that blame, by event, shape (events,)."""
        return np.bincount(self.about[CLEARING:], wealth[CLEARING:]).astype(np.float64, copy=False)


def blaming(wealth: Floats) -> float:
    """Wealth of all bets that blame, together."""
    return float(np.add.reduce(wealth[CLEARING:]))


def cleared(wealth: Floats) -> tuple[float, float]:
    """Odds against so much harm in failures, and in SLO violations. Each event answers for itself."""
    half = len(_MILD_RATIOS)
    return float(wealth[:half].sum()), float(wealth[half:CLEARING].sum())


@lru_cache(maxsize=32)
def full_family(reference: Reference, policy: Policy) -> Family:
    """Errors, slowness at each edge, and each score bin upwards and downwards; clears of twice the harm."""
    edges = len(reference.latency_edges)
    weights = [weight for weight, tested in zip(_GROUP_WEIGHTS, (1, edges, reference.expected), strict=True) if tested]
    errors, latency, *scores = (weight / sum(weights) for weight in weights)
    rows = _harm_rows(FAILED, policy.tolerated_ratio, errors)
    for event, share in enumerate(reference.latency_shares, start=1):
        rows += _harm_rows(event, policy.tolerated_ratio, latency / edges, most=1 / share if share else inf)
    return _family(
        _clearing_rows(reference, _PROMOTION_RATIO) + rows,
        reference,
        _score_rows(reference, policy, *scores) if scores else [],
    )


@lru_cache(maxsize=32)
def core_family(reference: Reference, policy: Policy) -> Family:
    """Errors and SLO violations only, for versions that are meant to score differently; clears of three times the harm.

    Small latencies do not count either: such versions are not equally fast.
    """
    events = (FAILED, reference.slo_event)
    rows = [row for event in events for row in _harm_rows(event, policy.tolerated_ratio, 0.5)]
    return _family(_clearing_rows(reference, _EXONERATION_RATIO) + rows, reference)


Row = tuple[int, float, float, float]


def _clearing_rows(reference: Reference, ratio: float) -> list[Row]:
    return [(event, ratio, mild, 0.0) for event in (FAILED, reference.slo_event) for mild in _MILD_RATIOS]


def _harm_rows(event: int, tolerated: float, share: float, *, most: float = inf) -> list[Row]:
    """Tests of one event; an event that half of the requests show cannot become ten times as frequent."""
    above = {rho: part for rho, part in _HARM_RATIOS.items() if tolerated < rho <= most} or {2 * tolerated: 1}
    return [(event, tolerated, rho, share * part / sum(above.values())) for rho, part in above.items()]


def _score_rows(reference: Reference, policy: Policy, share: float) -> list[Row]:
    """Tests of each score bin: for each, upwards and downwards by each ratio, the largest first."""
    tolerated = policy.tolerated_score_ratio
    above = [rho for rho in sorted(_SCORE_RATIOS, reverse=True) if rho > tolerated] or [2 * tolerated]
    first = 1 + len(reference.latency_edges)
    mass = (1 - _CONSTANT_SHARE) * share / len(reference.expected) / len(above) / 2
    return [
        (event, expected * tolerated**sign, expected * rho**sign, mass)
        for event, expected in enumerate(reference.expected, start=first)
        for rho in above
        for sign in (1, -1)
    ]


def _family(rows: Sequence[Row], reference: Reference, scores: Sequence[Row] = ()) -> Family:
    event, null, alternative, mass = (np.array(column) for column in zip(*rows, *scores, strict=True))
    edges, bins = len(reference.latency_edges), len(reference.expected) if scores else 0
    is_latency = (event > FAILED) & (event <= edges)
    exposure = np.where(event == FAILED, _FINISHED, np.where(is_latency, _ANSWERED, _SCORED))
    up = len(rows) + np.arange(bins, dtype=np.intp) * (len(scores) // max(bins, 1))
    constant = mass[len(rows) :].sum() * _CONSTANT_SHARE / (1 - _CONSTANT_SHARE)
    return Family(
        event=event.astype(np.intp),
        exposure=exposure.astype(np.intp),
        null=null - 1,
        alternative=alternative - 1,
        gain=np.log(alternative / null),
        largest=np.where(is_latency, _LARGEST_LATENCY_INCREMENT, _LARGEST_INCREMENT),
        up=up,
        down=up + 1,
        about=np.concatenate((event, event[up])).astype(np.intp),
        prior=np.concatenate((mass, np.full(bins, constant / max(bins, 1))))[CLEARING:],
    )
