"""What features and inputs add to a score: it sums up to the score, and it is what shap says."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perch.errors import ModelError
from perch.workload.attribution import Attributor
from perch.workload.features import FeatureColumns
from perch.workload.model import estimator
from profiled import small_market
from serving_process import tiny_scorer


def shap():
    """The library; importing it warns of matplotlib's plans."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("shap", reason="shap is installed on Linux only")


def log_odds(probability):
    return np.log(probability / (1 - probability))


def fitted(kind, rows=3_000):
    rng = np.random.default_rng(7)
    values = rng.normal(size=(rows, 4)) @ rng.normal(size=(4, 4)) + [0, 5, -3, 1]
    if kind != "logistic":
        values[::9, 1] = np.nan
    clicked = rng.random(rows) < 1 / (1 + np.exp(1.5 - np.nan_to_num(values) @ [0.5, 0.1, -0.3, 0.0]))
    return estimator(kind).fit(values, clicked, names=list("abcd"), seed=0), values


@pytest.mark.parametrize("kind", ["lightgbm", "logistic", "wide"])
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.01, 50))
def test_what_features_add_sums_up_to_the_log_odds_that_are_answered(kind, seed, scale):
    model, _ = FITTED[kind]
    values = np.random.default_rng(seed).normal(size=(5, 4)) * scale
    odds = model.contributions(values).sum(axis=1)
    np.testing.assert_allclose(1 / (1 + np.exp(-odds)), model.predict(values), rtol=1e-9)


FITTED = {kind: fitted(kind) for kind in ("lightgbm", "logistic", "wide")}


def test_the_share_of_non_clicks_that_training_kept_belongs_to_the_base():
    scorer = replace(tiny_scorer(), keep_rate=0.1)
    values = scorer.transform.transform(
        {"price": [0.1, None], "age": [0.5, 0.5], "site": ["a", "?"], "ad": ["x", None]}
    ).values
    parts = scorer.contributions(values)
    np.testing.assert_allclose(parts.sum(axis=1), log_odds(scorer.predict(values)), atol=1e-9)
    assert np.ptp(parts[:, -1]) == 0


def test_trees_add_what_shap_says_they_do():
    model, values = FITTED["lightgbm"]
    # `shap_values` would ask LightGBM itself; interactions are counted by shap's own code, and sum up to the same
    theirs = shap().TreeExplainer(model._booster).shap_interaction_values(values[:40]).sum(axis=2)
    np.testing.assert_allclose(model.contributions(values[:40])[:, :-1], theirs, atol=1e-6)


@pytest.mark.parametrize("kind", ["logistic", "wide"])
def test_linear_models_add_what_shap_says_they_do(kind):
    model, values = FITTED[kind]
    mean = model._fill if kind == "wide" else model._means
    rows = np.where(np.isnan(values), mean, values)[:40]
    explainer = shap().LinearExplainer((model._weights, model._intercept), (mean, np.eye(4)))
    np.testing.assert_allclose(model.contributions(values[:40])[:, :-1], explainer.shap_values(rows), atol=1e-9)
    np.testing.assert_allclose(model.contributions(values[:1])[0, -1], explainer.expected_value, atol=1e-9)


def test_a_logistic_model_counts_from_the_mean_of_the_rows_by_what_they_taught():
    model, values = FITTED["logistic"]
    probability = model.predict(values)
    wanted = np.average(values, axis=0, weights=probability * (1 - probability))
    np.testing.assert_allclose(model._means, wanted, rtol=1e-5)


def test_a_logistic_model_of_an_earlier_perch_counts_from_nought():
    model, values = fitted("logistic")
    del model._regression.precision_
    np.testing.assert_allclose(model.contributions(values[:3])[:, :-1], values[:3] * model._weights)


def test_what_a_cross_adds_is_half_each_columns():
    _, scorer, _ = small_market()
    columns = FeatureColumns(("n",), ("a", "b"), (("a", "b"),))
    attributor = Attributor(replace(scorer, transform=replace_columns(scorer.transform, columns)))
    # n, then log-odds of a, b, a_x_b, then counts of the same, then the base
    parts = np.array([[1.0, 2, 4, 8, 16, 32, 64, 1000]])
    assert attributor.inputs == ("n", "a", "b")
    assert attributor.inputs_of(parts).tolist() == [[1, 2 + 16 + 36, 4 + 32 + 36]]


def replace_columns(transform, columns):
    class Of:
        names = columns.features

    Of.columns = columns
    return Of


def test_inputs_add_what_their_features_do():
    prepared, scorer, _ = small_market()
    values = prepared.inputs["lightgbm"].values[:20]
    attributor = Attributor(scorer)
    parts = attributor.features_of(values)
    assert attributor.inputs == scorer.transform.columns.numeric + scorer.transform.columns.categorical
    np.testing.assert_allclose(attributor.inputs_of(parts).sum(axis=1), parts[:, :-1].sum(axis=1))


def test_a_model_that_cannot_tell_says_so():
    class Silent:
        kind = "silent"

    with pytest.raises(ModelError, match="a model of kind silent does not say what its features add"):
        replace(tiny_scorer(), estimator=Silent()).contributions(np.zeros((1, 6)))
