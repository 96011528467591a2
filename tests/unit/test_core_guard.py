from itertools import pairwise
from math import comb, exp

import numpy as np
import pytest

from perch.core import Policy, Slo, reference
from perch.core.guard import Guard, _log_likelihood_ratio, _odds_scaled, arm_guard, bounded_rates
from perch.core.types import Counts
from perch.signals.names import grid

SLO = Slo(latency_p99_ms=100.0)
GRID = grid(100.0)
REFERENCE = reference(Counts.none(GRID), GRID, SLO, None)
POLICY = Policy()


def counts(requests, failed=0, slow=0):
    latency = [0] * (len(GRID.latency_ms) + 1)
    latency[0], latency[-1] = requests - failed - slow, slow
    return Counts(requests, failed, tuple(latency), (0,) * (len(GRID.score_logit) + 1))


def guard(rate=0.001):
    return Guard(rates=(rate, rate))


@pytest.mark.parametrize("ratio", [1.5, 10.0, 100.0])
@pytest.mark.parametrize("true_rate", [0.0, 0.02, 0.04])
def test_a_normal_rate_gains_nothing_in_expectation(ratio, true_rate):
    """Exact, over all outcomes of 12 requests; 0.04 is the tolerated rate."""
    gain = sum(
        comb(12, k)
        * true_rate**k
        * (1 - true_rate) ** (12 - k)
        * exp(_log_likelihood_ratio(k, 12, _odds_scaled(0.04, ratio), 0.04))
        for k in range(13)
    )
    assert gain <= 1 + 1e-12


def test_without_requests_the_level_is_the_time():
    watched = guard().watched(counts(0), REFERENCE, 3.0, 3.0).watched(counts(0), REFERENCE, 5.0, 2.0)
    assert watched.level == pytest.approx(5.0)


def test_more_failures_ring_sooner():
    levels = [guard().watched(counts(100, failed=k), REFERENCE, 1.0, 1.0).level for k in range(6)]
    assert all(a < b for a, b in pairwise(levels))


def test_a_step_to_five_percent_rings_within_seconds_and_a_normal_rate_stays_quiet():
    rng = np.random.default_rng(0)
    quiet = guard()
    for second in range(3_600):
        quiet = quiet.watched(counts(100, failed=int(rng.binomial(100, 0.001))), REFERENCE, second + 1.0, 1.0)
        assert quiet.level < POLICY.guard_quiet_s
    seconds = 0
    while quiet.level < POLICY.guard_quiet_s:
        seconds += 1
        quiet = quiet.watched(counts(100, failed=5), REFERENCE, 3_600.0 + seconds, 1.0)
    assert seconds <= 4


def test_what_rang_is_kept_and_the_detectors_start_over():
    assert guard().watched(counts(100, failed=40), REFERENCE, 1.0, 1.0).ring().rang == 0
    pausing = guard().watched(counts(100, slow=40), REFERENCE, 1.0, 1.0)
    assert pausing.level < POLICY.guard_quiet_s
    rung = pausing.ring()
    assert (rung.rang, rung.alarms, rung.level) == (1, 1, 0.0)


def test_a_common_incident_is_normal_for_five_minutes():
    armed = guard().in_incident((0.2, 0.2), now_s=10.0)
    during = armed.watched(counts(100, failed=20), REFERENCE, 300.0, 1.0)
    later = armed.watched(counts(100, failed=20), REFERENCE, 311.0, 1.0)
    assert during.level < 1 < POLICY.guard_quiet_s < later.level


def test_relief_grows_with_clean_requests_only():
    assert guard(0.01).ring().relieved(counts(100), REFERENCE).relief > 0
    assert guard(0.01).ring().relieved(counts(100, failed=5), REFERENCE).relief < 0


def test_rates_are_bounded_from_above_and_never_zero():
    failed, slow = bounded_rates(counts(1_000, failed=5), REFERENCE, POLICY)
    assert failed > 0.005
    assert 0 < slow < failed
    assert bounded_rates(counts(10_000_000), REFERENCE, POLICY) == (1e-4, 1e-4)


def test_an_untried_canary_is_guarded_by_the_champions_rates():
    tried = arm_guard(counts(1_000, failed=100), counts(5_000), REFERENCE, POLICY)
    untried = arm_guard(counts(10, failed=5), counts(5_000), REFERENCE, POLICY)
    assert tried.rates[0] > 0.1
    assert untried.rates[0] < 0.01
    assert arm_guard(counts(0), counts(0), REFERENCE, POLICY).rates == (0.01, 0.01)
