"""The guard: an alarm on the promoted version's own events, with a wanted mean time between false alarms.

Once nearly all traffic is on one arm, comparing arms is nearly blind. The guard compares the version with its own past:
a Shiryaev-Roberts e-detector against twice the rate that the rollout bounded,

    M <- (dt + M) L,    L = (p1/p0)^x ((1-p1)/(1-p0))^(n-x),

for x events in n requests over dt seconds. While the rate is at most p0, E L <= 1, so M - t is a supermartingale and
the mean time until M reaches `guard_quiet_s` is at least that long. M is averaged over both events and over the odds
ratios of p1 to p0. (Shin, Ramdas and Rinaldo, arXiv 2203.03532.)

Slow answers come in clusters, so ln L of SLO violations is cut at 4 in each tick: one pause of a process is no alarm,
and what is cut from above stays a supermartingale. An alarm says that something is wrong, not with whom: confirming is
a comparison of arms again.
"""

from dataclasses import dataclass, replace
from math import log, log1p

import numpy as np

from perch.core.bounds import upper_bound
from perch.core.events import Tally
from perch.core.policy import Policy
from perch.core.reference import Reference
from perch.core.vector import Floats

SLOW_ALLOWED = 0.01
"""Share of the answers that may be slower than `Slo.latency_p99_ms`."""

_RATIOS = (1.5, 3.0, 10.0, 30.0)
AT_REST = (0.0,) * (2 * len(_RATIOS))
_TOLERATED = 2.0
_LEAST_RATE = 1e-4
_LARGEST_RATE = 0.9
_LARGEST = 1e150
_RELIEF_RATIO = 3.0
_INCIDENT_S = 300.0
_LARGEST_INCREMENTS = np.array(((300.0,), (4.0,)))  # for failures only so that numbers stay finite
_RATIO_ROW = np.array(_RATIOS)


@dataclass(frozen=True, slots=True)
class Guard:
    """What the guard knows. Pairs are for failures and SLO violations, in this order."""

    rates: tuple[float, float]
    """Upper bounds on the rates from the rollout: what is normal."""

    trials: int
    """Requests that they rest on."""

    detectors: tuple[float, ...] = AT_REST
    """M of each event and ratio."""

    rang: int | None = None
    """The event of the last alarm: 0 failures, 1 SLO violations."""

    alarms: int = 0

    relief: float = 0.0
    """ln of the evidence, since the last alarm, that the version's own rate is back to normal."""

    incident: tuple[float, float] = (0.0, 0.0)
    """Rates that every arm showed in a common incident: normal, too, until `incident_until_s`."""

    incident_until_s: float = 0.0

    @property
    def level(self) -> float:
        """Mean of the detectors, in seconds; the alarm rings at `Policy.guard_quiet_s`."""
        return sum(self.detectors) / len(self.detectors)

    def watched(self, counted: Tally, reference: Reference, now_s: float, elapsed_s: float) -> "Guard":
        """The guard after `elapsed_s` seconds with these counts of the promoted version."""
        own = np.array(own_events(counted, reference), dtype=np.float64)
        detectors = grown(np.array(self.detectors), own[:, 0], own[:, 1], np.array(self.tolerated(now_s)), elapsed_s)
        return replace(self, detectors=tuple(detectors.tolist()))

    def sharpened(self, counted: Tally, reference: Reference, policy: Policy) -> "Guard":
        """The guard with what it has seen so far, as soon as that is twice as much as its rates rest on.

        The bounds hold at all times together, so the smallest one holds, too; a rate that creeps up never raises it.
        **Assumed**: the version's own rate does not double by itself while the guard learns, see
        `perch.core.weighing.SHARPENS_S`.
        """
        if counted.finished < 2 * self.trials:
            return self
        failed, slow = map(min, self.rates, bounded_rates(counted, reference, policy))
        return replace(self, rates=(failed, slow), trials=counted.finished)

    def ring(self) -> "Guard":
        """The guard as it waits for the confirmation: which event rang is kept."""
        half = len(_RATIOS)
        rang = int(sum(self.detectors[half:]) > sum(self.detectors[:half]))
        return replace(self, rang=rang, alarms=self.alarms + 1, relief=0.0, detectors=AT_REST)

    def relieved(self, counted: Tally, reference: Reference) -> "Guard":
        """The guard after a tick of confirmation: is the version's own rate back below three times the normal one?"""
        event = self.rang or 0
        hits, trials = own_events(counted, reference)[event]
        null = min(_RELIEF_RATIO * self.rates[event], _LARGEST_RATE)
        return replace(self, relief=self.relief + _log_likelihood_ratio(hits, trials, null / _RELIEF_RATIO, null))

    def at_rest(self) -> "Guard":
        """The guard without what alarmed it so far."""
        return replace(self, detectors=AT_REST)

    def in_incident(self, rates: tuple[float, float], now_s: float) -> "Guard":
        """The guard, armed again, that takes for normal for five minutes what every arm showed just now."""
        return replace(self, incident=rates, incident_until_s=now_s + _INCIDENT_S)

    def tolerated(self, now_s: float) -> tuple[float, float]:
        """Rates of failures and of SLO violations up to which the guard keeps quiet."""
        usual = self.incident if now_s < self.incident_until_s else (0.0, 0.0)
        failed, slow = (min(_TOLERATED * max(pair), _LARGEST_RATE) for pair in zip(self.rates, usual, strict=True))
        return failed, slow


def grown(detectors: Floats, hits: Floats, trials: Floats, null: Floats, elapsed_s: Floats | float) -> Floats:
    """M of each event and ratio after a tick, shape (..., 2 x ratios). Leading axes are many rollouts at once.

    Args:
        detectors: M before.
        hits: How often each event happened, shape (..., 2).
        trials: Among how many requests, shape (..., 2).
        null: Tolerated rates, shape (..., 2), above 0 and below 1.
        elapsed_s: Length of the tick, shape (..., 1), or one for all.
    """
    normal = null[..., None]
    rate = _odds_scaled(normal, _RATIO_ROW)
    misses = (trials - hits)[..., None]
    log_l = hits[..., None] * np.log(rate / normal) + misses * (np.log1p(-rate) - np.log1p(-normal))
    factor = np.exp(np.minimum(log_l, _LARGEST_INCREMENTS)).reshape(detectors.shape)
    after: Floats = np.minimum((elapsed_s + detectors) * factor, _LARGEST)
    return after


def arm_guard(promoted: Tally, stable: Tally, reference: Reference, policy: Policy) -> Guard:
    """Arm the guard with the rates of the rollout: the canary's own, or the stable arm's if hers rest on too little."""
    trusted = promoted if promoted.finished >= policy.min_requests else stable
    return Guard(rates=bounded_rates(trusted, reference, policy), trials=max(trusted.finished, policy.min_requests))


def bounded_rates(counted: Tally, reference: Reference, policy: Policy) -> tuple[float, float]:
    """Upper bounds on the rates of failures and of SLO violations; what the SLO allows where nothing was counted."""
    if not counted.finished:
        return max(reference.slo.error_rate, _LEAST_RATE), SLOW_ALLOWED
    failed, slow_ = (
        max(upper_bound(hits, trials, policy.beta / 2), _LEAST_RATE) for hits, trials in own_events(counted, reference)
    )
    return failed, slow_


def own_events(counted: Tally, reference: Reference) -> tuple[tuple[int, int], tuple[int, int]]:
    """Hits and trials of failures, and of SLO violations among the answered."""
    return (counted.failed, counted.finished), (counted.hits[reference.slo_event], counted.answered)


def _odds_scaled(rate: Floats, ratio: Floats) -> Floats:
    """The rate with `ratio` times the odds: below 1 however large the ratio."""
    scaled: Floats = ratio * rate / (1 - rate + ratio * rate)
    return scaled


def _log_likelihood_ratio(hits: int, trials: int, rate: float, null: float) -> float:
    return hits * log(rate / null) + (trials - hits) * (log1p(-rate) - log1p(-null))
