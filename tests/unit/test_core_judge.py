import numpy as np
import pytest

from perch.core.codec import dumps, loads
from perch.core.judge import Judge
from perch.core.types import Judgement
from perch.errors import RolloutError

KAPPAS = np.array([0.5, 0.6, 0.7, 0.8, 0.9])


def judged(*p_values, before=None):
    """The evidence after windows with these p-values."""
    return (before or Judge()).after(map(Judgement, p_values))


def test_the_evidence_is_the_mean_over_kappa_of_the_products_over_windows():
    evidence = judged(0.2, before=judged(0.01, 0.4))
    factors = [KAPPAS * p ** (KAPPAS - 1) for p in (0.01, 0.4, 0.2)]
    assert evidence.e_value == pytest.approx(np.prod(factors, axis=0).mean())


def test_a_valid_p_value_gains_nothing_in_expectation():
    """The mean over p, uniform on (0, 1), by the midpoint rule in ln p."""
    log_p = -np.linspace(0, 60, 60_001)
    middle = np.exp((log_p[1:] + log_p[:-1]) / 2)
    widths = np.exp(log_p[:-1]) - np.exp(log_p[1:])
    gains = [judged(p).e_value for p in middle[::20]]
    integral = np.interp(np.log(1 / middle), np.log(1 / middle[::20]), gains) @ widths
    assert 0.99 < integral <= 1


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.3])
def test_a_judge_that_only_says_drift_gains_nothing_in_expectation(rate):
    mean = rate * judged(rate).e_value + (1 - rate) * judged(1.0).e_value
    assert mean < 1


def test_one_window_convicts_nobody_alone_and_two_may():
    one, two = judged(0.0), judged(0.0, 0.0)
    assert one.e_value == pytest.approx(142.3, abs=0.1)
    assert one.log_wealth == judged(1e-6).log_wealth
    assert 0.1 * one.e_value < 100 < 0.1 * two.e_value


def test_no_window_says_nothing():
    assert judged() == Judge()
    assert Judge().e_value == 1


def test_a_judge_that_sees_no_drift_lets_the_evidence_fall():
    assert judged(*[0.7] * 10).e_value < 0.5


def test_steady_mild_drift_is_found_and_the_evidence_stays_finite():
    assert judged(*[0.02] * 8).e_value > 100
    certain = judged(*[0.0] * 10_000)
    assert 1e200 < certain.e_value < float("inf")
    assert loads(Judge, dumps(certain)) == certain


@pytest.mark.parametrize("wrong", [1.7, -0.1, float("nan"), float("inf")])
def test_a_number_that_is_no_p_value_is_refused_with_advice(wrong):
    with pytest.raises(RolloutError, match="between 0 and 1"):
        judged(0.5, wrong)


def test_a_valid_judge_raises_a_false_alarm_as_rarely_as_promised():
    rng, threshold, runs = np.random.default_rng(7), 10.0, 400
    alarms = 0
    for _ in range(runs):
        evidence, highest = Judge(), 1.0
        for p in rng.random(60):
            evidence = judged(p, before=evidence)
            highest = max(highest, evidence.e_value)
        alarms += highest >= threshold
    assert 0 < alarms / runs <= 1 / threshold


def test_windows_that_are_counted_twice_break_the_promise():
    """Why windows must not overlap: each p-value of an honest judge, told eight times."""
    rng, threshold, runs = np.random.default_rng(8), 10.0, 400
    alarms = sum(judged(*np.repeat(rng.random(1), 8)).e_value >= threshold for _ in range(runs))
    assert alarms / runs > 1 / threshold


def test_the_window_that_tells_most_is_remembered_with_its_finding():
    windows = [Judgement(0.3), Judgement(0.001, "column age differs"), Judgement(0.2, "column hour differs")]
    assert Judge().after(windows).worst == windows[1]
    assert Judge().after(windows[1:]).after(windows[:1]).worst == windows[1]
