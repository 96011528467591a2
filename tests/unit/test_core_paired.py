from math import exp, log, log1p

import numpy as np
import pytest

from perch.core.codec import dumps, loads
from perch.core.paired import POINTS, Paired, loss, spread

CTR, DELTA = 0.05, 0.001


def counted(*pairs):
    """Counts on the points of (difference, how many)."""
    return tuple(np.sum([np.array(spread([d])) * n for d, n in pairs], axis=0).tolist())


def pairs(canary_noise, n, seed):
    """Differences of loss of a calibrated champion and a canary whose log-odds are off by noise, at n requests."""
    rng = np.random.default_rng(seed)
    champion = rng.normal(log(CTR), 1.0, n)
    canary = champion + rng.normal(0, canary_noise, n)
    clicked = rng.random(n) < _probability(champion)
    return loss(_probability(canary), clicked, 1.0) - loss(_probability(champion), clicked, 1.0)


def _probability(logit):
    return 1 / (1 + np.exp(-logit))


def test_the_points_are_symmetric_ascend_and_lie_denser_near_zero():
    assert (POINTS[0], POINTS[40], POINTS[-1]) == (-3.0, 0.0, 3.0)
    assert tuple(-point for point in reversed(POINTS)) == POINTS
    gaps = np.diff(POINTS)
    assert (np.diff(gaps[40:]) > 0).all()
    assert gaps[40] < 0.002


def test_a_difference_is_split_between_its_neighbours_so_that_its_mean_is_kept():
    differences = np.random.default_rng(1).normal(0, 0.5, 500)
    counts = np.array(spread(differences))
    assert counts.sum() == pytest.approx(500)
    assert counts @ POINTS == pytest.approx(differences.sum())
    assert [i for i, count in enumerate(spread([POINTS[7]])) if count] == [7]
    assert sum(count > 0 for count in spread([0.01234])) == 2


def test_differences_beyond_the_last_point_count_there():
    assert spread([7.0, -np.inf, 3.0]) == spread([3.0, -3.0, 3.0])


def test_no_pairs_say_nothing():
    assert Paired().after((), DELTA) == Paired()
    assert Paired().after(spread([]), DELTA).e_value == 1


def test_the_wealth_is_the_mean_over_stakes_of_the_products_over_pairs():
    a, b = POINTS[50], POINTS[20]
    evidence = Paired().after(counted((a, 3), (b, 2)), DELTA)
    stakes = [part / 3.001 for part in (0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 0.95)]
    harm = [(1 + stake * (a - DELTA)) ** 3 * (1 + stake * (b - DELTA)) ** 2 for stake in stakes]
    no_harm = [(1 - stake * (a - DELTA)) ** 3 * (1 - stake * (b - DELTA)) ** 2 for stake in stakes]
    assert evidence.e_value == pytest.approx(np.mean(harm))
    assert evidence.cleared == pytest.approx(np.mean(no_harm))


def test_pairs_may_come_in_any_number_of_ticks():
    first, second = spread([0.2, -0.1]), spread([0.5])
    at_once = Paired().after(tuple(map(sum, zip(first, second, strict=True))), DELTA)
    in_turn = Paired().after(second, DELTA).after(first, DELTA)
    assert at_once.harm == pytest.approx(in_turn.harm)
    assert at_once.no_harm == pytest.approx(in_turn.no_harm)


def test_a_worse_canary_is_convicted_and_a_better_one_is_cleared():
    worse = Paired().after(spread(pairs(1.0, 10_000, seed=2)), DELTA)
    better = Paired().after(spread(-pairs(1.0, 10_000, seed=2)), DELTA)
    assert min(worse.e_value, better.cleared) > 1_000
    assert max(worse.cleared, better.e_value) < 1


def test_a_canary_that_scores_alike_is_not_convicted_but_cleared_in_time():
    evidence = Paired().after(spread(pairs(0.01, 200_000, seed=3)), DELTA)
    assert evidence.e_value < 1
    assert evidence.cleared > 20


def test_evidence_stays_finite_and_survives_the_record():
    certain = Paired().after(counted((3.0, 1e6)), DELTA).after(counted((3.0, 1e6)), DELTA)
    assert 1e200 < certain.e_value < float("inf")
    assert certain.cleared == 0
    assert loads(Paired, dumps(certain)) == certain
    halfway = Paired().after(spread([0.1, 0.2]), DELTA)
    assert loads(Paired, dumps(halfway)) == halfway


def test_the_loss_is_that_of_a_click_within_the_age():
    assert loss([0.2, 0.2], [True, False], 0.5) == pytest.approx([-log(0.1), -log1p(-0.1)])
    assert np.isfinite(loss([0.0, 1.0, 0.0, 1.0], [True, False, False, True], 1.0)).all()


@pytest.mark.parametrize("matured_share", [0.1, 0.6, 1.0])
def test_the_true_probability_has_the_least_mean_loss_at_every_age(matured_share):
    true, candidates = 0.3, np.linspace(0.05, 0.95, 181)
    clicked_within = true * matured_share
    mean = clicked_within * loss(candidates, True, matured_share) + (1 - clicked_within) * loss(
        candidates, False, matured_share
    )
    assert candidates[mean.argmin()] == pytest.approx(true)


def test_without_the_discount_the_version_that_predicts_too_few_clicks_would_win():
    true, too_low, matured_share = 0.3, 0.12, 0.4

    def mean_loss(probability, discount):
        hit, miss = loss([probability, probability], [True, False], discount)
        return true * matured_share * hit + (1 - true * matured_share) * miss

    assert mean_loss(too_low, 1.0) < mean_loss(true, 1.0)
    assert mean_loss(too_low, matured_share) > mean_loss(true, matured_share)


def test_the_discount_cancels_in_the_difference_for_a_click():
    early, late = (loss(0.2, True, share) - loss(0.1, True, share) for share in (0.01, 1.0))
    assert early == pytest.approx(late)
    assert exp(late) == pytest.approx(0.5)
