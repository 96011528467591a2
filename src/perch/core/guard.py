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
from math import exp, log, log1p

from perch.core.bounds import upper_bound
from perch.core.events import Tally
from perch.core.policy import Policy
from perch.core.reference import Reference

SLOW_ALLOWED = 0.01
"""Share of the answers that may be slower than `Slo.latency_p99_ms`."""

_RATIOS = (1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0)
_AT_REST = (0.0,) * (2 * len(_RATIOS))
_TOLERATED = 2.0
_LEAST_RATE = 1e-4
_LARGEST_RATE = 0.9
_LARGEST = 1e300
_RELIEF_RATIO = 3.0
_INCIDENT_S = 300.0
_LARGEST_INCREMENTS = (600.0, 4.0)  # for failures only so that numbers stay finite


@dataclass(frozen=True, slots=True)
class Guard:
    """What the guard knows. Pairs are for failures and SLO violations, in this order."""

    rates: tuple[float, float]
    """Upper bounds on the rates from the rollout: what is normal."""

    detectors: tuple[float, ...] = _AT_REST
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
        detectors: list[float] = []
        for event, (hits, trials) in enumerate(own_events(counted, reference)):
            null = self._tolerated(event, now_s)
            for i, ratio in enumerate(_RATIOS):
                log_l = _log_likelihood_ratio(hits, trials, _odds_scaled(null, ratio), null)
                old = self.detectors[event * len(_RATIOS) + i]
                detectors.append(min((elapsed_s + old) * exp(min(log_l, _LARGEST_INCREMENTS[event])), _LARGEST))
        return replace(self, detectors=tuple(detectors))

    def ring(self) -> "Guard":
        """The guard as it waits for the confirmation: which event rang is kept."""
        half = len(_RATIOS)
        rang = int(sum(self.detectors[half:]) > sum(self.detectors[:half]))
        return replace(self, rang=rang, alarms=self.alarms + 1, relief=0.0, detectors=_AT_REST)

    def relieved(self, counted: Tally, reference: Reference) -> "Guard":
        """The guard after a tick of confirmation: is the version's own rate back below three times the normal one?"""
        event = self.rang or 0
        hits, trials = own_events(counted, reference)[event]
        null = min(_RELIEF_RATIO * self.rates[event], _LARGEST_RATE)
        return replace(self, relief=self.relief + _log_likelihood_ratio(hits, trials, null / _RELIEF_RATIO, null))

    def in_incident(self, rates: tuple[float, float], now_s: float) -> "Guard":
        """The guard, armed again, that takes for normal for five minutes what every arm showed just now."""
        return replace(self, incident=rates, incident_until_s=now_s + _INCIDENT_S)

    def _tolerated(self, event: int, now_s: float) -> float:
        rate = max(self.rates[event], self.incident[event] if now_s < self.incident_until_s else 0.0)
        return min(_TOLERATED * rate, _LARGEST_RATE)


def arm_guard(promoted: Tally, stable: Tally, reference: Reference, policy: Policy) -> Guard:
    """Arm the guard with the rates of the rollout: the canary's own, or the stable arm's if hers rest on too little."""
    trusted = promoted if promoted.finished >= policy.min_requests else stable
    return Guard(rates=bounded_rates(trusted, reference, policy))


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


def _odds_scaled(rate: float, ratio: float) -> float:
    """The rate with `ratio` times the odds: below 1 however large the ratio."""
    return ratio * rate / (1 - rate + ratio * rate)


def _log_likelihood_ratio(hits: int, trials: int, rate: float, null: float) -> float:
    return hits * log(rate / null) + (trials - hits) * (log1p(-rate) - log1p(-null))
