"""The study of rare clicks studies what the pipeline does, and divides out what each treatment puts on the odds."""

from dataclasses import replace

import numpy as np
import pytest
from benchmarks.imbalance.learners import LEARNERS
from benchmarks.imbalance.study import Difference, Trial, _over_logs, _over_rows, results, try_all
from benchmarks.imbalance.treatments import TREATMENTS, smote, weighted

from perch.pipeline.features import prepare
from perch.pipeline.settings import PipelineSettings
from perch.pipeline.train import fit
from perch.workload.schema import CLICK_LOG
from perch.world import Market


@pytest.fixture(scope="module")
def log():
    return Market(1).log(7, 20_000)


@pytest.fixture(scope="module")
def rare():
    """Rows whose log-odds of a click are known: -4 plus the first feature."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60_000, 2))
    return values, rng.random(60_000) < 1 / (1 + np.exp(4 - values[:, 0]))


@pytest.mark.parametrize("kind", LEARNERS)
def test_the_down_sampled_model_is_that_of_the_pipeline(log, kind):
    settings = PipelineSettings(seed=3)
    shipped = fit(prepare(log, CLICK_LOG, settings, data_digest=""), kind, settings)
    prepared = prepare(log, CLICK_LOG, replace(settings, keep_rate=1.0), data_digest="")
    given = prepared.inputs[kind]
    learnt = LEARNERS[kind](TREATMENTS["keep 1/2"](given.values, given.clicked, 3), 3)
    np.testing.assert_allclose(learnt(given.values), shipped.estimator.predict(given.values), rtol=1e-3)


@pytest.mark.parametrize("treatment", [name for name in TREATMENTS if name != "SMOTE"])
def test_after_recalibration_probabilities_mean_what_they_say(rare, treatment):
    values, clicked = rare
    rows = TREATMENTS[treatment](values, clicked, 0)
    raised = LEARNERS["logistic"](rows, 0)(values)
    odds = raised / (1 - raised) / rows.odds_factor
    assert (odds / (1 + odds)).sum() / clicked.sum() == pytest.approx(1, abs=0.1)
    assert raised.sum() >= 0.99 * clicked.sum()


def test_weights_make_both_classes_weigh_the_same(rare):
    rows = weighted(*rare, 0)
    assert rows.weights[rows.clicked].sum() == pytest.approx(rows.weights[~rows.clicked].sum())


def test_smote_makes_up_clicks_between_clicks_and_nothing_else(rare):
    values, clicked = rare
    values = np.where(np.random.default_rng(0).random(values.shape) < 0.01, np.nan, values)
    rows = smote(values, clicked, 0)
    assert rows.clicked.sum() == (~rows.clicked).sum() == (~clicked).sum()
    assert not np.isnan(rows.values).any()
    low, high = np.nanmin(values[clicked], axis=0), np.nanmax(values[clicked], axis=0)
    made = rows.values[len(values) :]
    assert ((made >= low - 1e-9) & (made <= high + 1e-9)).all()


def trial(losses):
    return Trial(1, 1, 0.0, np.array(losses, np.float64), 0.0, 0.5, 0.0, 0.0, 1.0, 1)


def test_no_treatment_differs_by_nothing_from_itself():
    trials = [{"none": trial(np.arange(1, 100) * seed)} for seed in (1, 2)]
    assert _over_logs(trials, "none") == _over_rows(trials, "none") == Difference(0, 0, 0)


def test_over_logs_the_interval_is_students():
    shares = [0.1, 0.2, 0.3]
    trials = [{"none": trial([1.0]), "SMOTE": trial([1 + share])} for share in shares]
    difference = _over_logs(trials, "SMOTE")
    assert difference.mean == pytest.approx(0.2)
    assert difference.high - difference.mean == pytest.approx(4.3027 * 0.1 / np.sqrt(3), rel=1e-3)


def test_over_rows_an_interval_holds_the_difference_that_all_rows_share():
    rng = np.random.default_rng(0)
    base = rng.exponential(size=5_000)
    trials = [{"none": trial(base), "SMOTE": trial(1.1 * base + 0.01 * rng.normal(size=5_000))}]
    difference = _over_rows(trials, "SMOTE")
    assert difference.low < 0.1 < difference.high
    assert difference.high - difference.low < 0.01


def test_every_treatment_of_a_log_gets_a_result(log):
    trials = [try_all(log, CLICK_LOG, seed)["logistic"] for seed in range(2)]
    found = results("market", "logistic", trials, same_log=True)
    assert [one.treatment for one in found] == list(TREATMENTS)
    none, half, *_ = found
    assert half.training_rows < none.training_rows
    assert none.ece == none.ece_before < half.ece_before
    assert {one.setting for one in found} == {none.setting}
