"""The shift between two samples, against what it must be by its definition."""

import numpy as np
from benchmarks.decisions.peers.mann_whitney import is_high, shift
from hypothesis import assume, given, settings
from hypothesis import strategies as st

TOLERANCE = 2e-4
SAMPLES = st.lists(st.integers(0, 400).map(lambda n: n / 4), min_size=4, max_size=12).map(np.array)


@settings(deadline=None)
@given(SAMPLES, SAMPLES)
def test_the_estimate_is_a_median_of_the_differences_to_half_a_rank(experiment, control):
    assume(np.ptp(experiment) + np.ptp(control) > 0)
    differences = np.subtract.outer(experiment, control)
    estimate = shift(experiment, control).estimate
    half = differences.size / 2 + 0.5  # the correction for continuity
    assert (differences < estimate - TOLERANCE).sum() <= half
    assert (differences > estimate + TOLERANCE).sum() <= half


@settings(deadline=None)
@given(SAMPLES, SAMPLES)
def test_the_estimate_lies_in_the_interval(experiment, control):
    found = shift(experiment, control)
    assert found.low - TOLERANCE <= found.estimate <= found.high + TOLERANCE


@settings(deadline=None)
@given(SAMPLES, SAMPLES)
def test_exchanging_the_samples_turns_the_interval_over(experiment, control):
    there, back = shift(experiment, control), shift(control, experiment)
    np.testing.assert_allclose([there.low, there.high], [-back.high, -back.low], atol=TOLERANCE)


@settings(deadline=None)
@given(SAMPLES, SAMPLES)
def test_what_is_high_is_not_high_the_other_way(experiment, control):
    assert not (is_high(experiment, control) and is_high(control, experiment))
