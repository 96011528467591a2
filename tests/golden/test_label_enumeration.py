"""Evidence from labels by exact enumeration: every outcome of a few pairs, and every order in which clicks may come."""

from functools import cache
from itertools import product
from math import prod

import pytest

from perch.core.clicks import Clicks
from perch.core.paired import POINTS, Paired, spread
from perch.core.types import Cohort

DELTA = 0.01
SIDES = {"harm": lambda evidence: evidence.e_value, "no harm": lambda evidence: evidence.cleared}


def mean_wealth(losses, pairs, *, side):
    """Expectation after `pairs` pairs whose difference is one of `losses` (difference, probability)."""
    return sum(
        prod(p for _, p in outcome) * SIDES[side](Paired().after(spread([d for d, _ in outcome]), DELTA))
        for outcome in product(losses, repeat=pairs)
    )


def two_points(low, high):
    """The law on two differences whose mean is delta."""
    at_high = (DELTA - low) / (high - low)
    return [(low, 1 - at_high), (high, at_high)]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("low", "high"), [(30, 60), (0, 80), (39, 50), (20, 44)])
def test_pairs_at_the_tolerance_gain_exactly_nothing_in_expectation(side, low, high):
    assert mean_wealth(two_points(POINTS[low], POINTS[high]), 6, side=side) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("low", "high"), [(-0.5, 0.7), (-2.9, 2.8), (-0.003, 0.05)])
def test_differences_between_the_points_only_lose_in_expectation(side, low, high):
    assert 0.9 < mean_wealth(two_points(low, high), 6, side=side) < 1


def test_pairs_inside_the_null_lose_in_expectation():
    better, worse = [(-0.4, 0.5), (0.3, 0.5)], [(-0.2, 0.5), (0.4, 0.5)]
    assert mean_wealth(better, 5, side="harm") < 1 < mean_wealth(worse, 5, side="harm")
    assert mean_wealth(worse, 5, side="no harm") < 1 < mean_wealth(better, 5, side="no harm")


def urn(n_canary, n_stable, clicks):
    """Steps (x, y, probability of one more for the canary), in order of arrival: requests clicked in any version.

    The null at its boundary without tolerance: `clicks` of the requests are clicked, wherever they went. A click that
    has come cannot come again, so arms are drawn without replacement.
    """
    for arrived in range(clicks):
        for x in range(max(0, arrived - n_stable), min(arrived, n_canary) + 1):
            yield x, arrived - x, (n_canary - x) / (n_canary + n_stable - arrived)


def wealth(share, side):
    return cache(lambda x, y: SIDES[side](Clicks().after((Cohort(share, x, y),), 0.0)))


def reaching(evidence, n_canary, n_stable, clicks, threshold):
    """Probability that the evidence ever reaches the threshold."""
    reached = 0.0
    going = {(0, 0): 1.0}
    for x, y, to_canary in urn(n_canary, n_stable, clicks):
        here = going.pop((x, y), 0.0)
        for after, p in (((x + 1, y), to_canary), ((x, y + 1), 1 - to_canary)):
            if evidence(*after) >= threshold:
                reached += here * p
            else:
                going[after] = going.get(after, 0.0) + here * p
    return reached


def best_stopping(evidence, n_canary, n_stable, clicks):
    """Expectation of the evidence under the best of all stopping rules, by backward induction."""
    value = {(x, clicks - x): evidence(x, clicks - x) for x in range(clicks + 1)}
    for x, y, to_canary in reversed(list(urn(n_canary, n_stable, clicks))):
        going_on = to_canary * value[x + 1, y] + (1 - to_canary) * value[x, y + 1]
        value[x, y] = max(evidence(x, y), going_on)
    return value[0, 0]


URNS = [(20, 20), (10, 60), (60, 10), (80, 80)]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("n_canary", "n_stable"), URNS)
@pytest.mark.parametrize("clicked", [0.1, 0.5, 1.0])
def test_clicks_in_order_of_arrival_reach_a_threshold_as_rarely_as_promised(side, n_canary, n_stable, clicked):
    clicks = int(clicked * (n_canary + n_stable))
    evidence = wealth(n_canary / (n_canary + n_stable), side)
    for threshold in (1.5, 2.0, 5.0, 10.0, 20.0):
        assert reaching(evidence, n_canary, n_stable, clicks, threshold) <= 1 / threshold


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("n_canary", "n_stable"), URNS)
def test_where_every_tenth_request_is_clicked_no_stopping_rule_gains_one_percent(side, n_canary, n_stable):
    requests = n_canary + n_stable
    assert 1 <= best_stopping(wealth(n_canary / requests, side), n_canary, n_stable, requests // 10) < 1.01


def test_clicks_under_a_share_that_is_not_their_requests_reach_it_too_often():
    """A tenth of the requests was the canary's; told under a split of one half, its clicks look too few."""
    misled = wealth(0.5, "harm")
    assert reaching(misled, 8, 72, 40, threshold=20.0) > 0.9
    assert best_stopping(misled, 8, 72, 8) > 2
