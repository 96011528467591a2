from itertools import pairwise

import numpy as np
import pytest

from perch.core.decay import Decay, Matured

QUIET_S = 30 * 86_400.0
MINUTE_S = 60.0


def run(ratios, *, requests=500, rate=0.02, seed=0, tolerated=1.1):
    """Minutes of a version that predicts `rate` and gets `ratio` times that; the state after each."""
    rng = np.random.default_rng(seed)
    decay, states = Decay(), []
    for ratio in ratios:
        clicks = int(rng.binomial(requests, rate * ratio))
        decay = decay.after(Matured(requests, clicks, requests * rate), MINUTE_S, tolerated)
        states.append(decay)
    return states


def rang(states):
    return next((minute for minute, one in enumerate(states) if one.level >= QUIET_S), None)


def test_a_version_that_keeps_its_ratio_does_not_ring_in_a_month_whatever_the_ratio():
    for seed, ratio in enumerate((0.7, 0.9, 1.0, 1.2)):
        assert rang(run([ratio] * 43_200, requests=100, seed=seed)) is None


def test_false_alarms_are_rarer_than_the_policy_allows():
    threshold_s = 7_200.0
    alarms, seconds = 0, 0.0
    for seed in range(40):
        for state in run([1.0] * 720, seed=seed, tolerated=1.0)[100:]:
            seconds += MINUTE_S
            alarms += state.level >= threshold_s
    assert alarms * threshold_s <= seconds


@pytest.mark.parametrize("ratio", [0.6, 0.7, 1.4, 1.7])
def test_a_ratio_that_changes_rings_soon(ratio):
    states = run([0.85] * 600 + [0.85 * ratio] * 600)
    minute = rang(states)
    assert minute is not None
    assert 600 < minute < 800


def test_a_change_that_is_tolerated_does_not_ring():
    assert rang(run([0.9] * 600 + [0.9 * 0.95] * 3_000)) is None


def test_nothing_rings_before_it_is_known_what_is_usual():
    few = run([0.3] * 9, requests=500)
    assert few[-1].bounds is None
    assert few[-1].level == 0


def test_clicks_that_cease_to_come_are_no_decay():
    states = run([0.9] * 300 + [0.0] * 300)
    assert rang(states) is None
    assert states[-1].is_silent
    assert not states[299].is_silent


def test_bounds_only_narrow_though_the_ratio_creeps():
    states = run(np.linspace(1.0, 0.6, 600))
    bounds = [state.bounds for state in states if state.bounds is not None]
    assert all(a[0] <= b[0] and b[1] <= a[1] for a, b in pairwise(bounds))


def test_counts_may_come_in_any_portions_of_a_batch():
    at_once = Decay().after(Matured(1_000, 20, 20.0), 120.0, 1.1)
    in_parts = Decay().after(Matured(400, 9, 8.0), 60.0, 1.1).after(Matured(600, 11, 12.0), 60.0, 1.1)
    assert at_once == in_parts
