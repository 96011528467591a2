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
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from perch.core.events import FAILED, Floats, Tally, slo_event
from perch.core.policy import Policy
from perch.core.reference import Reference

_HARM_RATIOS = (1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 300.0)
_SCORE_RATIOS = _HARM_RATIOS[:6]  # a decile cannot be hit a hundred times as often
_MILD_RATIOS = (1.0, 0.5, 0.2)  # alternatives when it is harm that is to be disproved
_GROUP_WEIGHTS = (0.4, 0.35, 0.25)  # errors, latency, scores
_LARGEST_LATENCY_INCREMENT = 2.0
_LARGEST_LOG = 690.0  # keeps e-values finite, and so their JSON


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """A mixture of split tests: one row for each event and alternative. All arrays have shape (rows,)."""

    event: NDArray[np.intp]
    log_null: Floats
    """ln of the ratio that each test excludes."""

    log_alternative: Floats
    log_prior: Floats
    """ln of each row's share of the mixture; the shares add up to 1."""

    largest: Floats
    """The most that a row can gain in one tick."""

    def start(self, mass: float) -> tuple[float, ...]:
        """Log wealth of each row when `mass` of the mixture is put to work."""
        return tuple((self.log_prior + log(mass)).tolist())

    def more(self, log_wealth: Sequence[float], mass: float) -> tuple[float, ...]:
        """Log wealth after putting further `mass` to work: on a harm that begins now."""
        return tuple(np.logaddexp(log_wealth, self.log_prior + log(mass)).tolist())

    def bet(self, log_wealth: Sequence[float], canary: Tally, other: Tally) -> tuple[float, ...]:
        """Log wealth after a tick. Events to which one of the arms was not exposed change nothing."""
        return tuple((np.asarray(log_wealth) + self.increments(canary, other)).tolist())

    def increments(self, canary: Tally, other: Tally) -> Floats:
        """The increment l of each row, as in the module's docstring, by differences of ln(1 + exp(.))."""
        usable = (canary.exposed > 0) & (other.exposed > 0)
        log_odds = np.log(np.where(usable, canary.exposed, 1.0) / np.where(usable, other.exposed, 1.0))[self.event]
        x, y = (canary.hits * usable)[self.event], (other.hits * usable)[self.event]
        null, alternative = log_odds + self.log_null, log_odds + self.log_alternative
        log_a = np.logaddexp(0.0, -null) - np.logaddexp(0.0, -alternative)
        log_b = np.logaddexp(0.0, null) - np.logaddexp(0.0, alternative)
        return np.asarray(np.minimum(x * log_a + y * log_b, self.largest))

    def by_event(self, log_wealth: Sequence[float], events: int) -> Floats:
        """Wealth of each event, shape (events,)."""
        wealth = np.exp(np.minimum(log_wealth, _LARGEST_LOG))
        return np.bincount(self.event, wealth, minlength=events).astype(np.float64)


def merged(log_wealth: Sequence[float], idle: float) -> float:
    """Merge the rows into one e-value; `idle` is the mass that is not at work yet and stays at 1 to 1."""
    top = max(log_wealth)
    log_sum = top + log(sum(exp(row - top) for row in log_wealth))
    return exp(min(log_sum, _LARGEST_LOG)) + idle


@lru_cache(maxsize=32)
def full_family(reference: Reference, policy: Policy) -> Family:
    """Errors, slowness at each edge, and each score bin upwards and downwards: does the canary harm?"""
    latency = 1 + len(reference.latency_edges)
    groups = [[FAILED], list(range(1, latency)), list(range(latency, latency + len(reference.expected)))]
    present = sum(weight for weight, group in zip(_GROUP_WEIGHTS, groups, strict=True) if group)
    rows = []
    for weight, group in zip(_GROUP_WEIGHTS[:2], groups[:2], strict=True):
        for event in group:
            rows += _harm_rows(event, policy.tolerated_ratio, weight / present / len(group))
    for event, expected in zip(groups[2], reference.expected, strict=True):
        share = _GROUP_WEIGHTS[2] / present / len(groups[2]) / 2
        upward = _harm_rows(event, policy.tolerated_score_ratio, share, _SCORE_RATIOS)
        rows += [(event, log(expected) + null, log(expected) + rho, mass) for _, null, rho, mass in upward]
        rows += [(event, log(expected) - null, log(expected) - rho, mass) for _, null, rho, mass in upward]
    return _family(rows, reference)


@lru_cache(maxsize=32)
def core_family(reference: Reference, policy: Policy) -> Family:
    """Errors and SLO violations only, for versions that are meant to score differently: does one harm?"""
    events = (FAILED, slo_event(reference))
    return _family([row for event in events for row in _harm_rows(event, policy.tolerated_ratio, 0.5)], reference)


@lru_cache(maxsize=32)
def clearing_family(reference: Reference, ratio: float) -> Family:
    """Is it disproved that errors, or SLO violations, are at least `ratio` times as frequent?

    Each event answers for itself, `by_event`, so the shares of each one's rows add up to 1.
    """
    mass = 1 / len(_MILD_RATIOS)
    events = (FAILED, slo_event(reference))
    return _family([(event, log(ratio), log(mild), mass) for event in events for mild in _MILD_RATIOS], reference)


Row = tuple[int, float, float, float]


def _harm_rows(event: int, tolerated: float, share: float, ratios: tuple[float, ...] = _HARM_RATIOS) -> list[Row]:
    above = [rho for rho in ratios if rho > tolerated] or [2 * tolerated]
    return [(event, log(tolerated), log(rho), share / len(above)) for rho in above]


def _family(rows: Sequence[Row], reference: Reference) -> Family:
    event, null, alternative, mass = (np.array(column) for column in zip(*rows, strict=True))
    is_latency = (event > FAILED) & (event <= len(reference.latency_edges))
    largest = np.where(is_latency, _LARGEST_LATENCY_INCREMENT, np.inf)
    return Family(event.astype(np.intp), null, alternative, np.log(mass), largest)
