from dataclasses import replace
from itertools import pairwise
from math import comb, exp

import numpy as np
import pytest

from core_market import GOOD, LIVE_ONLY, Market
from perch.core import Cause, Policy, Slo, decide, reference, transitions
from perch.core.bounds import upper_bound
from perch.core.events import tally
from perch.core.guard import Guard, _log_likelihood_ratio, _odds_scaled, arm_guard, bounded_rates, grown
from perch.core.types import Arm, Counts, Observation
from perch.signals.names import grid

SLO = Slo(latency_p99_ms=100.0)
GRID = grid(100.0)
REFERENCE = reference(Counts.none(GRID), GRID, SLO, None)
POLICY = Policy()


def counts(requests, failed=0, slow=0):
    latency = [0] * (len(GRID.latency_ms) + 1)
    latency[0], latency[-1] = requests - failed - slow, slow
    return tally(Counts(requests, failed, tuple(latency), (0,) * (len(GRID.score_logit) + 1)), REFERENCE)


def guard(rate=0.001, trials=1_000):
    return Guard(rates=(rate, rate), trials=trials)


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


@pytest.mark.parametrize("event", [0, 1])
@pytest.mark.parametrize("true_rate", [0.0, 0.02, 0.04])
def test_every_detector_grows_by_the_time_at_most_while_the_rate_is_normal(event, true_rate):
    """Exact, over all outcomes of 12 requests, from any level; what is cut from above only lowers it."""
    before, null = np.linspace(0.0, 500.0, 8), np.array((0.04, 0.04))
    after = np.zeros(8)
    for k in range(13):
        hits = np.array([0.0, 0.0])
        hits[event] = k
        chance = comb(12, k) * true_rate**k * (1 - true_rate) ** (12 - k)
        after += chance * grown(before, hits, np.array((12.0, 12.0)), null, 3.0)
    of_event = slice(4 * event, 4 * event + 4)
    assert (after[of_event] <= before[of_event] + 3.0 + 1e-9).all()


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
    assert (tried.trials, untried.trials) == (1_000, 5_000)


def test_the_guard_sharpens_when_it_has_seen_twice_what_its_rates_rest_on():
    armed = guard(rate=0.05, trials=1_000)
    assert armed.sharpened(counts(1_999), REFERENCE, POLICY) is armed
    sharper = armed.sharpened(counts(2_000, failed=2, slow=6), REFERENCE, POLICY)
    error = POLICY.beta / 2
    assert sharper.rates == pytest.approx((upper_bound(2, 2_000, error), upper_bound(6, 1_998, error)))
    assert max(sharper.rates) < 0.05
    assert sharper.trials == 2_000
    assert sharper.sharpened(counts(3_999), REFERENCE, POLICY) is sharper


def test_the_guard_never_loosens_however_a_rate_creeps_up():
    watching, total = guard(rate=0.002, trials=200), counts(0)
    for minute in range(60):
        total = total + counts(600, failed=minute, slow=minute // 2)
        after = watching.sharpened(total, REFERENCE, POLICY)
        assert all(new <= old for new, old in zip(after.rates, watching.rates, strict=True))
        watching = after
    assert total.failed / total.finished > 20 * 0.002
    assert watching.rates[0] <= 0.002


def test_the_guard_learns_for_three_hours_for_then_the_time_of_day_changes_what_is_normal():
    policy = replace(LIVE_ONLY, guard_s=6 * 3600.0)
    market = Market(policy=policy, rps=1.0)
    market.run(1, until=lambda _: True)
    market.state = transitions.promote(market.state, policy, Cause.PERSON)
    trials = []
    for _ in range(380):
        many = {arm: GOOD.serve(n, market.rng) for arm, n in ((Arm.CANARY, 2_940), (Arm.STABLE, 60))}
        observation = Observation(market.state.tick + 1, market.state.seen_s + 30.0, many)
        market.state, _ = decide(market.state, observation, policy)
        trials.append((market.state.now_s - market.state.phase_since_s, market.state.guard.trials))
    assert max(at for at, _ in trials) > 11_000
    assert {n for at, n in trials if at > 10_900} == {n for at, n in trials if 10_770 < at <= 10_800}
    assert len({n for at, n in trials if at <= 10_800}) > 5


def test_the_more_the_guard_has_seen_the_sooner_it_rings():
    """A step from 0.05 % to 0.4 % failures is below twice what 1,000 requests prove, but not what 100,000 do."""

    def seconds_to_ring(watching):
        for second in range(1, 600):
            watching = watching.watched(counts(250, failed=1), REFERENCE, float(second), 1.0)
            if watching.level >= POLICY.guard_quiet_s:
                return second
        return None

    armed = arm_guard(counts(1_000), counts(1_000), REFERENCE, POLICY)
    sharper = armed.sharpened(counts(100_000, failed=50), REFERENCE, POLICY)
    assert seconds_to_ring(armed) is None
    assert seconds_to_ring(sharper) is not None
