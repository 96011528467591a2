from math import log

import numpy as np
import pytest
from scipy.special import betaln

from perch.core.bounds import lower_bound, upper_bound


@pytest.mark.parametrize(
    ("hits", "trials", "error"), [(0, 10, 0.05), (3, 100, 0.05), (50, 100, 0.01), (7, 5_000, 0.00625)]
)
def test_a_bound_is_where_the_mixture_martingale_reaches_one_over_the_error(hits, trials, error):
    for rate in (upper_bound(hits, trials, error), lower_bound(hits, trials, error)):
        if rate == 0:
            continue
        log_martingale = (
            betaln(hits + 0.5, trials - hits + 0.5)
            - betaln(0.5, 0.5)
            - hits * log(rate)
            - (trials - hits) * np.log1p(-rate)
        )
        assert log_martingale == pytest.approx(log(1 / error), abs=1e-5)


def test_bounds_enclose_the_observed_rate_and_close_in_with_more_trials():
    widths = []
    for trials in (10, 100, 1_000, 10_000):
        lower, upper = lower_bound(trials // 10, trials, 0.05), upper_bound(trials // 10, trials, 0.05)
        assert lower < 0.1 < upper
        widths.append(upper - lower)
    assert widths == sorted(widths, reverse=True)


def test_nothing_seen_bounds_nothing():
    assert (lower_bound(0, 0, 0.05), upper_bound(0, 0, 0.05)) == (0.0, 1.0)


def test_all_or_no_hits_reach_the_end_of_the_scale():
    assert upper_bound(20, 20, 0.05) == 1.0
    assert lower_bound(0, 20, 0.05) == 0.0
    assert upper_bound(0, 20, 0.05) == pytest.approx(1 - lower_bound(20, 20, 0.05))


def test_seven_hundred_clean_requests_bound_the_rate_below_one_percent():
    assert upper_bound(0, 700, 0.05) < 0.01 < upper_bound(0, 400, 0.05)


def test_the_bound_holds_at_every_look_together():
    rng, rate, failures = np.random.default_rng(1), 0.05, 0
    for _ in range(300):
        hits = np.cumsum(rng.random(400) < rate)
        looks = range(0, 400, 7)
        failures += any(upper_bound(int(hits[n]), n + 1, 0.1) < rate for n in looks)
    assert failures / 300 < 0.1
