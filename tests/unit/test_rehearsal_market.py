"""The simulated arms: what is drawn follows the laws that the scenarios name."""

from itertools import accumulate

import numpy as np
import pytest

from perch.core.types import Arm, Counts
from perch.rehearsal.market import GRID, SLO, Behaviour, Market, Served, Split, Traffic, always

HALF = 0.5


def split(replications, canary=HALF, baseline=0.0, mirror=0.0):
    live = Split.between(np.full(replications, canary), baseline)
    return Split(live.baseline, live.stable, live.canary, np.full(replications, mirror))


def serve(traffic, weights, ticks=1, seed=1):
    """What each arm did over so many ticks."""
    market = Market(traffic, len(weights.canary), seed)
    total = dict.fromkeys(Arm, Served.none(len(weights.canary)))
    for _ in range(ticks):
        total = {arm: total[arm] + served for arm, served in market.tick(weights).items()}
    return total


def near(observed, expected, standard_errors=5.0):
    """A count within five standard errors of the mean of a Poisson law."""
    return abs(observed - expected) < standard_errors * np.sqrt(expected)


def slow_share(factor):
    """Share above 500 ms of a lognormal with median 80 ms and p99 300 ms, times `factor`, by its definition."""
    z_99 = 2.3263478740408408
    z = np.log(500 / (80 * factor)) / (np.log(300 / 80) / z_99)
    grid = np.linspace(z, z + 12, 200_001)
    return np.trapezoid(np.exp(-(grid**2) / 2), grid) / np.sqrt(2 * np.pi)


def test_the_grid_has_the_quantiles_of_a_good_version_and_the_limit_of_the_slo():
    good = serve(Traffic(2_000.0), split(50))[Arm.STABLE]
    shares = good.latency.sum(axis=0) / good.answered.sum()
    expected = (0.5, 0.75, 0.9, 0.95, 0.99)
    assert list(accumulate(shares))[:5] == pytest.approx(expected, abs=0.01)
    assert GRID.latency_ms[-1] == SLO.latency_p99_ms == 500.0
    assert good.scores.sum(axis=0) / good.answered.sum() == pytest.approx(np.full(10, 0.1), abs=0.01)


def test_each_arm_gets_its_share_of_the_requests():
    total = serve(Traffic(1_000.0), split(200, canary=0.2, baseline=0.05))
    finished = {arm: served.finished.sum() for arm, served in total.items()}
    assert near(finished[Arm.CANARY], 40_000)
    assert near(finished[Arm.BASELINE], 10_000)
    assert near(finished[Arm.STABLE], 150_000)
    assert finished[Arm.SHADOW] == 0


def test_arrivals_are_poisson_and_the_arms_independent():
    total = serve(Traffic(100.0), split(20_000))
    canary, stable = total[Arm.CANARY].finished, total[Arm.STABLE].finished
    assert canary.mean() == pytest.approx(50, abs=0.25)
    assert canary.var() == pytest.approx(50, abs=2.5)
    assert abs(np.corrcoef(canary, stable)[0, 1]) < 0.035


def test_all_mirrored_requests_are_those_that_somebody_sent():
    total = serve(Traffic(100.0), split(100, canary=0.1, baseline=0.1, mirror=1.0), ticks=3)
    live = sum(total[arm].finished for arm in (Arm.BASELINE, Arm.STABLE, Arm.CANARY))
    np.testing.assert_array_equal(total[Arm.SHADOW].finished, live)
    half = serve(Traffic(100.0), split(1_000, mirror=HALF))
    assert near(half[Arm.SHADOW].finished.sum(), 50_000)


def test_the_shadow_answers_as_the_canary_does():
    faulty = always(Behaviour(error_rate=1.0))
    total = serve(Traffic(100.0, canary=faulty), split(10, mirror=1.0))
    for arm in (Arm.CANARY, Arm.SHADOW):
        np.testing.assert_array_equal(total[arm].failed, total[arm].finished)
    assert total[Arm.STABLE].answered.sum() > 0


def test_the_baseline_arm_answers_as_the_champion_unless_told_otherwise():
    broken = always(Behaviour(error_rate=1.0))
    weights = split(10, canary=0.1, baseline=0.4)
    alike = serve(Traffic(100.0, stable=broken), weights)[Arm.BASELINE]
    assert alike.failed.sum() == alike.finished.sum() > 0
    healthy = serve(Traffic(100.0, stable=broken, baseline=always(Behaviour(error_rate=0.0))), weights)[Arm.BASELINE]
    assert healthy.failed.sum() == 0 < healthy.finished.sum()


def test_every_request_ends_and_every_answer_has_a_latency_and_a_score():
    canary = serve(Traffic(300.0, canary=always(Behaviour(error_rate=0.3))), split(50), ticks=5)[Arm.CANARY]
    np.testing.assert_array_equal(canary.latency.sum(axis=1), canary.scores.sum(axis=1))
    np.testing.assert_array_equal(canary.finished, canary.failed + canary.answered)
    assert near(canary.failed.sum(), 0.3 * canary.finished.sum())


@pytest.mark.parametrize("factor", [1.0, 1.5, 3.0])
def test_a_latency_factor_makes_answers_late_as_often_as_the_lognormal_says(factor):
    traffic = Traffic(2_000.0, canary=always(Behaviour(error_rate=0.0, latency_factor=factor)))
    canary = serve(traffic, split(200))[Arm.CANARY]
    assert near(canary.slow.sum(), canary.answered.sum() * slow_share(factor))


def test_a_bad_response_failed_or_came_late_or_never():
    served = Served(
        failed=np.array([1]),
        latency=np.array([[5, 0, 0, 0, 0, 0, 2]]),
        scores=np.array([[7] + [0] * 9]),
        lost=np.array([4]),
    )
    assert served.bad.tolist() == [7]
    assert served.finished.tolist() == [8]


def test_constant_scores_fall_into_one_bin():
    canary = serve(Traffic(100.0, canary=always(Behaviour(score_scale=0.0))), split(20))[Arm.CANARY]
    assert np.flatnonzero(canary.scores.sum(axis=0)).tolist() == [np.searchsorted(GRID.score_logit, 0.0)]


def test_wider_scores_fall_into_the_outer_bins():
    scores = serve(Traffic(1_000.0, canary=always(Behaviour(score_scale=1.2))), split(50))[Arm.CANARY].scores.sum(
        axis=0
    )
    assert scores[0] > 1.2 * scores[1]
    assert scores[-1] > 1.2 * scores[-2]


def test_a_silent_version_moves_no_counter_but_its_users_wait():
    total = serve(Traffic(100.0, canary=always(Behaviour(silent=True))), split(100, mirror=1.0))
    canary = total[Arm.CANARY]
    assert canary.counts(0) == Counts.none(GRID)
    assert near(canary.bad.sum(), 5_000)
    assert total[Arm.SHADOW].finished.sum() == 0


def test_bursts_slow_both_arms_at_once_and_each_replication_at_its_own_time():
    market = Market(Traffic(400.0, bursts=True), 400, seed=3)
    late = []
    for _ in range(400):
        served = market.tick(split(400))
        late.append([served[arm].slow / served[arm].answered for arm in (Arm.CANARY, Arm.STABLE)])
    canary, stable = np.array(late).transpose(1, 0, 2)
    assert np.corrcoef(canary.ravel(), stable.ravel())[0, 1] > 0.5
    assert abs(np.corrcoef(canary[:, :200].ravel(), canary[:, 200:].ravel())[0, 1]) < 0.1
    in_burst = 0.1 * slow_share(2.0) + 0.9 * slow_share(1.0)
    assert canary.mean() == pytest.approx(in_burst, rel=0.15)


def test_the_load_follows_the_clock():
    traffic = Traffic(100.0, load=lambda now_s: 2.0 if now_s >= 1 else 0.0)
    market = Market(traffic, 100, seed=1)
    first, second = (market.tick(split(100))[Arm.CANARY].finished.sum() for _ in range(2))
    assert first == 0
    assert near(second, 10_000)
    assert market.now_s == 2


def test_a_replication_without_weights_gets_no_requests():
    weights = split(4, mirror=1.0).only(np.array([True, False, True, False]))
    for served in serve(Traffic(100.0), weights).values():
        assert (served.finished[[1, 3]] == 0).all()


def test_the_same_seed_gives_the_same_traffic():
    traffic, weights = Traffic(50.0, bursts=True), split(10)
    once, again, other = (serve(traffic, weights, ticks=20, seed=seed)[Arm.CANARY] for seed in (1, 1, 2))
    np.testing.assert_array_equal(once.latency, again.latency)
    assert not np.array_equal(once.latency, other.latency)


def test_one_replication_reads_as_the_counts_of_an_arm():
    canary = serve(Traffic(100.0), split(3))[Arm.CANARY]
    counts = canary.counts(1)
    assert counts.fits(GRID)
    assert counts.requests == counts.finished == canary.finished[1]
    assert counts.latency == tuple(canary.latency[1])
