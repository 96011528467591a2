from math import log

import numpy as np
import pytest

from perch.core.clicks import Clicks
from perch.core.codec import dumps, loads
from perch.core.types import Cohort

TOLERATED = 0.05


def arrivals(rng, *, ratio, shares, delay_s=40.0, rate=0.3, requests=200, ticks=400):
    """Yield the clicks of each tick as cohorts: requests of tick t are split by shares[t], clicks come exp-delayed."""
    due = {}
    for t in range(ticks):
        share = shares[t % len(shares)]
        canary = rng.binomial(requests, share)
        for arm, n, p in ((0, canary, rate * ratio), (1, requests - canary, rate)):
            for delay in rng.exponential(delay_s, rng.binomial(n, p)):
                due.setdefault(t + int(delay), []).append((t, canary / requests, arm))
        clicks = due.pop(t, [])
        yield tuple(
            Cohort(share, *(sum(c == (at, share, arm) for c in clicks) for arm in (0, 1)))
            for at, share in sorted({c[:2] for c in clicks})
        )


def highest(cohorts_by_tick):
    """The most evidence of harm, and of none, at any tick."""
    evidence, harm, cleared = Clicks(), 1.0, 1.0
    for cohorts in cohorts_by_tick:
        evidence = evidence.after(cohorts, TOLERATED)
        harm, cleared = max(harm, evidence.e_value), max(cleared, evidence.cleared)
    return harm, cleared, evidence


def test_the_increment_is_the_log_likelihood_ratio_of_where_the_clicks_fell():
    null, alternative, share = 0.95, 0.95 * 0.5, 0.2
    pi = [share * r / (share * r + 1 - share) for r in (null, alternative)]
    expected = 3 * log(pi[1] / pi[0]) + 7 * log((1 - pi[1]) / (1 - pi[0]))
    evidence = Clicks().after((Cohort(share, 3, 7),), TOLERATED)
    assert evidence.harm[3] == pytest.approx(expected, rel=1e-12)


def test_no_clicks_and_a_time_without_a_canary_say_nothing():
    alone = (Cohort(0.0, 0, 50), Cohort(1.0, 50, 0))
    for cohorts in ((), (Cohort(0.3, 0, 0),), alone):
        evidence = Clicks().after(cohorts, TOLERATED)
        assert evidence.e_value == pytest.approx(1, abs=1e-12)
        assert evidence.cleared == pytest.approx(1, abs=1e-12)


def test_each_click_counts_under_the_split_of_its_request():
    """At 1 % of the requests 1 % of the clicks are the canary's: no harm, though the split is now one half."""
    right = Clicks().after((Cohort(0.01, 3, 300),), TOLERATED)
    wrong = Clicks().after((Cohort(0.5, 3, 300),), TOLERATED)
    assert right.e_value < 2
    assert wrong.e_value > 1e6


def test_cohorts_may_come_in_any_order_and_number_of_ticks():
    cohorts = (Cohort(0.1, 2, 30), Cohort(0.5, 9, 11), Cohort(0.3, 0, 4))
    in_turn = Clicks()
    for cohort in reversed(cohorts):
        in_turn = in_turn.after((cohort,), TOLERATED)
    assert Clicks().after(cohorts, TOLERATED).harm == pytest.approx(in_turn.harm)


def test_a_canary_that_earns_half_is_convicted_while_its_share_grows():
    rng = np.random.default_rng(4)
    harm, cleared, evidence = highest(arrivals(rng, ratio=0.5, shares=[0.05] * 50 + [0.2] * 50 + [0.5] * 50, ticks=150))
    assert harm > 1e4
    assert cleared < 5
    assert loads(Clicks, dumps(evidence)) == evidence


def test_a_canary_that_earns_more_is_cleared():
    harm, cleared, _ = highest(arrivals(np.random.default_rng(5), ratio=1.2, shares=[0.5], ticks=100))
    assert cleared > 1e3
    assert harm < 5


def test_watching_each_arrival_convicts_a_canary_at_the_tolerance_in_less_than_its_share_of_runs():
    """Shares change, clicks are late and frequent (30 %): the bound holds in order of arrival, at every look."""
    rng, threshold, runs = np.random.default_rng(6), 10.0, 150
    reached = [
        highest(arrivals(rng, ratio=1 - TOLERATED, shares=[0.05, 0.2, 0.5], requests=60, ticks=80))[:2]
        for _ in range(runs)
    ]
    convicted, cleared = (np.mean([run[side] >= threshold for run in reached]) for side in (0, 1))
    assert convicted > 0
    assert max(convicted, cleared) <= 1 / threshold
