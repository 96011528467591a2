import numpy as np
import pytest

from perch.core.codec import dumps, loads
from perch.core.judge import Judge
from perch.errors import RolloutError

KAPPAS = np.array([0.5, 0.6, 0.7, 0.8, 0.9])


def test_the_evidence_is_the_mean_over_kappa_of_the_products_over_windows():
    evidence = Judge().after([0.01, 0.4]).after([0.2])
    factors = [KAPPAS * p ** (KAPPAS - 1) for p in (0.01, 0.4, 0.2)]
    assert evidence.e_value == pytest.approx(np.prod(factors, axis=0).mean())


def test_a_valid_p_value_gains_nothing_in_expectation():
    """The mean over p, uniform on (0, 1), by the midpoint rule in ln p."""
    log_p = -np.linspace(0, 60, 60_001)
    middle = np.exp((log_p[1:] + log_p[:-1]) / 2)
    widths = np.exp(log_p[:-1]) - np.exp(log_p[1:])
    gains = [Judge().after([p]).e_value for p in middle[::20]]
    integral = np.interp(np.log(1 / middle), np.log(1 / middle[::20]), gains) @ widths
    assert 0.99 < integral <= 1


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.3])
def test_a_judge_that_only_says_drift_gains_nothing_in_expectation(rate):
    mean = rate * Judge().after([rate]).e_value + (1 - rate) * Judge().after([1.0]).e_value
    assert mean < 1


def test_one_window_convicts_nobody_alone_and_two_may():
    one, two = Judge().after([0.0]), Judge().after([0.0, 0.0])
    assert one.e_value == pytest.approx(142.3, abs=0.1)
    assert one == Judge().after([1e-6])
    assert 0.1 * one.e_value < 100 < 0.1 * two.e_value


def test_no_window_says_nothing():
    assert Judge().after([]) == Judge()
    assert Judge().e_value == 1


def test_a_judge_that_sees_no_drift_lets_the_evidence_fall():
    assert Judge().after([0.7] * 10).e_value < 0.5


def test_steady_mild_drift_is_found_and_the_evidence_stays_finite():
    assert Judge().after([0.02] * 8).e_value > 100
    certain = Judge().after([0.0] * 10_000)
    assert 1e200 < certain.e_value < float("inf")
    assert loads(Judge, dumps(certain)) == certain


@pytest.mark.parametrize("wrong", [1.7, -0.1, float("nan"), float("inf")])
def test_a_number_that_is_no_p_value_is_refused_with_advice(wrong):
    with pytest.raises(RolloutError, match="between 0 and 1"):
        Judge().after([0.5, wrong])


def test_a_valid_judge_raises_a_false_alarm_as_rarely_as_promised():
    rng, threshold, runs = np.random.default_rng(7), 10.0, 400
    alarms = 0
    for _ in range(runs):
        evidence, highest = Judge(), 1.0
        for p in rng.random(60):
            evidence = evidence.after([p])
            highest = max(highest, evidence.e_value)
        alarms += highest >= threshold
    assert 0 < alarms / runs <= 1 / threshold


def test_windows_that_are_counted_twice_break_the_promise():
    """Why windows must not overlap: each p-value of an honest judge, told eight times."""
    rng, threshold, runs = np.random.default_rng(8), 10.0, 400
    alarms = sum(Judge().after(np.repeat(rng.random(1), 8)).e_value >= threshold for _ in range(runs))
    assert alarms / runs > 1 / threshold
