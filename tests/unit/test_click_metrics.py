import numpy as np
import pytest
from sklearn import metrics as reference

from perch.workload import metrics


@pytest.fixture(scope="module")
def scored():
    rng = np.random.default_rng(0)
    p = np.round(rng.beta(1, 20, 5_000), 3).clip(0.001, 0.999)  # with ties
    return rng.random(5_000) < p, p


def test_figures_agree_with_scikit_learn(scored):
    clicked, p = scored
    assert metrics.log_losses(clicked, p).mean() == pytest.approx(reference.log_loss(clicked, p))
    assert metrics.auc(clicked, p) == pytest.approx(reference.roc_auc_score(clicked, p))
    assert metrics.pr_auc(clicked, p) == pytest.approx(reference.average_precision_score(clicked, p))
    precision, recall = metrics.precision_recall(clicked, p, 0.1)
    assert precision == pytest.approx(reference.precision_score(clicked, p >= 0.1))
    assert recall == pytest.approx(reference.recall_score(clicked, p >= 0.1))


def test_predicting_the_mean_has_normalised_entropy_one(scored):
    clicked, p = scored
    assert metrics.normalised_entropy(clicked, np.full(len(clicked), clicked.mean())) == pytest.approx(1)
    assert metrics.normalised_entropy(clicked, p) < 1


def test_calibration_sees_what_order_does_not(scored):
    clicked, p = scored
    assert metrics.calibration_ratio(clicked, p) == pytest.approx(1, abs=0.1)
    assert metrics.calibration_ratio(clicked, p / 2) == pytest.approx(metrics.calibration_ratio(clicked, p) / 2)
    assert metrics.auc(clicked, p / 2) == metrics.auc(clicked, p)
    off = metrics.expected_calibration_error(clicked, p / 2)
    assert off > 3 * metrics.expected_calibration_error(clicked, p)
    assert off == pytest.approx(p.mean() / 2, rel=0.2)


def test_certain_and_wrong_is_a_finite_loss():
    assert np.isfinite(metrics.log_losses(np.array([True, False]), np.array([0.0, 1.0]))).all()


@pytest.mark.parametrize("clicked", [np.zeros(4, bool), np.ones(4, bool)])
def test_figures_that_need_both_outcomes_are_nan_without_them(clicked):
    p = np.full(4, 0.5)
    assert np.isnan(metrics.auc(clicked, p))
    assert np.isnan(metrics.normalised_entropy(clicked, p))


def test_bootstrap_intervals_have_the_width_of_the_central_limit(scored):
    clicked, _ = scored
    sums = metrics.bootstrap_sums(np.stack([np.ones(5_000), clicked], axis=1), resamples=2_000, seed=1)
    interval = metrics.interval(sums[:, 1] / sums[:, 0])
    error = clicked.std() / 5_000**0.5
    assert interval.low == pytest.approx(clicked.mean() - 1.96 * error, abs=0.2 * error)
    assert interval.high == pytest.approx(clicked.mean() + 1.96 * error, abs=0.2 * error)


def test_equal_seeds_resample_equally():
    values = np.arange(7_000.0)[:, None]
    first = metrics.bootstrap_sums(values, resamples=5, seed=3)
    np.testing.assert_array_equal(first, metrics.bootstrap_sums(values, resamples=5, seed=3))
    assert not np.array_equal(first, metrics.bootstrap_sums(values, resamples=5, seed=4))


def test_intervals_ignore_resamples_without_a_value():
    assert metrics.interval(np.array([np.nan, 2.0, 2.0, np.inf])) == metrics.Interval(2.0, 2.0)
    assert np.isnan(metrics.interval(np.array([np.nan])).low)


def test_intervals_that_are_looked_at_together_are_wider():
    resampled = np.random.default_rng(0).normal(size=100_000)
    ten = metrics.interval(resampled, looks=10)
    assert (ten.low, ten.high) == (pytest.approx(-2.807, abs=0.05), pytest.approx(2.807, abs=0.05))
