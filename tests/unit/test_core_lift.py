"""Lifts between two arms: what is found, and that the intervals hold at every look."""

import numpy as np
import pytest

from perch.core.lift import LEAST_SALES, Earned, Stratum, lift_of_events, lift_of_revenue

ERROR = 0.05


def test_equal_arms_have_no_lift_and_the_interval_narrows_as_events_come():
    few, many = (lift_of_events([(0.5, events, events)], ERROR) for events in (100, 10_000))
    assert few.estimate == pytest.approx(0, abs=1e-5)
    assert few.low < many.low < 0 < many.high < few.high
    assert many.high < 0.06


def test_a_small_share_that_earns_more_for_each_request_is_ahead():
    lift = lift_of_events([(0.1, 1_500, 9_000)], ERROR)
    assert lift.estimate == pytest.approx(0.5, abs=1e-4)
    assert 0.35 < lift.low < 0.5 < lift.high < 0.67


def test_who_is_served_more_in_good_hours_does_not_look_better():
    """9 of 10 requests in an hour in which everybody clicks, 1 of 10 in one in which nobody does. (Simpson.)"""
    good, bad = (0.9, 9 * 500, 500), (0.1, 50, 9 * 50)
    assert lift_of_events([good, bad], ERROR).estimate == pytest.approx(0, abs=1e-5)
    pooled = (0.5, good[1] + bad[1], good[2] + bad[2])
    assert lift_of_events([pooled], ERROR).low > 0.5


@pytest.mark.parametrize("split", [[], [(0.5, 0, 0)], [(1.0, 40, 0), (0.0, 0, 40)]])
def test_without_events_or_without_a_split_nothing_is_said(split):
    assert lift_of_events(split, ERROR) is None


def test_an_arm_without_events_is_bounded_on_one_side_only():
    none, all_of_them = lift_of_events([(0.5, 0, 200)], ERROR), lift_of_events([(0.5, 200, 0)], ERROR)
    assert none.estimate == none.low == -1
    assert -1 < none.high < -0.9
    assert all_of_them.low > 9
    assert all_of_them.high == pytest.approx(999)


@pytest.mark.parametrize("ratio", [1.0, 1.3])
def test_the_truth_is_in_the_interval_of_events_at_every_look(ratio):
    """As often as is said: 100 histories, each looked at 60 times, with a share that is another one each time."""
    rng = np.random.default_rng(1)
    missed = 0
    for _ in range(100):
        shares = rng.uniform(0.05, 0.5, 60)
        events = rng.poisson(20, 60)
        mine = rng.binomial(events, shares * ratio / (shares * ratio + 1 - shares))
        split = list(zip(shares, mine, events - mine, strict=True))
        looks = [lift_of_events(split[:n], ERROR) for n in range(1, 61)]
        missed += any(not look.low <= ratio - 1 <= look.high for look in looks if look is not None)
    assert missed <= 100 * ERROR * 1.5


def strata(rng, hours, more=0.0):
    """Hours with a split of 1 to 4, in which every twentieth request brings about 3, and the arm's a little more."""
    found = []
    for _ in range(hours):
        arms = []
        for requests, mean in ((200, 3 + more), (800, 3)):
            amounts = rng.gamma(2, mean / 2, rng.binomial(requests, 0.05))
            arms.append(Earned(requests, sales=len(amounts), revenue=amounts.sum(), revenue_squared=(amounts**2).sum()))
        found.append(Stratum(*arms))
    return found


def test_more_revenue_is_found_and_its_size_told():
    lift = lift_of_revenue(strata(np.random.default_rng(2), 100, more=1.5), ERROR)
    assert lift.low > 0
    assert lift.estimate == pytest.approx(0.05 * 1.5, rel=0.3)


def test_the_truth_is_in_the_interval_of_revenue_at_every_look():
    rng, missed = np.random.default_rng(3), 0
    for _ in range(200):
        history = strata(rng, 30)
        looks = [lift_of_revenue(history[:n], ERROR) for n in range(1, 31)]
        missed += any(not look.low <= 0 <= look.high for look in looks if look is not None)
    assert missed <= 200 * ERROR * 1.5


def test_of_few_amounts_nothing_is_said():
    few = Earned(1_000, sales=LEAST_SALES - 1, revenue=1.0, revenue_squared=1.0)
    enough = Earned(1_000, sales=LEAST_SALES, revenue=1.0, revenue_squared=1.0)
    assert lift_of_revenue([Stratum(few, enough)], ERROR) is None
    assert lift_of_revenue([Stratum(enough, Earned(0))], ERROR) is None
    assert lift_of_revenue([Stratum(enough, enough)], ERROR).estimate == 0
