# ruff: noqa: PD011 - a Matrix is no pandas object
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from perch.workload.features import FeatureColumns, FeatureSettings, Transform

SETTINGS = FeatureSettings(bits=10, prior_impressions=10)
COLUMNS = FeatureColumns(numeric=("price",), categorical=("site", "device"), crosses=(("site", "device"),))


@pytest.fixture
def history():
    return pd.DataFrame(
        {
            "price": [1.0, np.nan, 3.0, 4.0],
            "site": ["a", "a", "b", None],
            "device": ["phone", "desk", "phone", "phone"],
        }
    )


@pytest.fixture
def transform(history):
    return Transform.fit(history, np.array([True, False, False, True]), COLUMNS, SETTINGS)


def row(price, site, device):
    return {"price": [price], "site": [site], "device": [device]}


def test_a_feature_is_the_smoothed_log_odds_of_its_value(transform):
    values = dict(zip(transform.names, transform.transform(row(1.0, "a", "desk")).values[0], strict=True))
    clicks, impressions, prior = 1, 2, 10
    rate = (transform.clicks.sum() + 1) / (transform.impressions.sum() + 2)
    expected = np.log((clicks + prior * rate) / (impressions - clicks + prior * (1 - rate)))
    assert values["site_log_odds"] == pytest.approx(expected)
    assert values["site_log_count"] == pytest.approx(np.log(3))
    assert values["site_x_device_log_count"] == pytest.approx(np.log(2))
    assert values["price"] == 1.0


def test_missing_values_are_counted_and_have_a_rate_of_their_own(transform):
    matrix = transform.transform(row(None, None, "phone"))
    assert matrix.missing == {"price": 1, "site": 1}
    assert matrix.unseen == {}
    assert np.isnan(matrix.values[0, 0])
    assert matrix.values[0, transform.names.index("site_log_count")] == pytest.approx(np.log(2))


def test_an_empty_category_is_a_missing_one(transform):
    assert transform.transform(row(1.0, "", "phone")).values.tobytes() == (
        transform.transform(row(1.0, None, "phone")).values.tobytes()
    )


def test_unseen_categories_are_counted_by_column(transform):
    matrix = transform.transform({"price": [1.0] * 3, "site": ["a", "new", "newer"], "device": ["phone"] * 3})
    assert matrix.unseen == {"site": 2}
    assert matrix.missing == {}


def test_an_unseen_value_gets_the_mean_rate(transform):
    values = transform.transform(row(1.0, "never", "phone")).values[0]
    rate = (transform.clicks.sum() + 1) / (transform.impressions.sum() + 2)
    assert values[transform.names.index("site_log_odds")] == pytest.approx(np.log(rate / (1 - rate)))


def test_training_and_serving_see_the_same_numbers(transform, history):
    rows = {name: [None if pd.isna(v) else v for v in history[name]] for name in history}
    trained, served = transform.transform_frame(history), transform.transform(rows)
    assert trained.values.tobytes() == served.values.tobytes()
    assert (trained.missing, trained.unseen) == (served.missing, served.unseen)


def test_categorical_and_text_columns_are_the_same(transform, history):
    coded = history.astype({"site": "category", "device": "category"})
    assert transform.transform_frame(coded).values.tobytes() == transform.transform_frame(history).values.tobytes()


def test_a_rows_own_click_does_not_reach_its_features(history):
    later = pd.DataFrame({"price": [1.0], "site": ["a"], "device": ["phone"]})
    transform = Transform.fit(history, np.array([True, False, False, True]), COLUMNS, SETTINGS)
    again = transform.transform_frame(later).values
    assert transform.clicks.sum() == 2 * 3  # two clicks in three counted columns, and none of `later`'s
    assert again.shape == (1, len(transform.names))


def test_a_log_without_clicks_still_gives_finite_features(history):
    transform = Transform.fit(history, np.zeros(4, bool), COLUMNS, SETTINGS)
    assert np.isfinite(transform.transform_frame(history).values[:, 1:]).all()


def test_columns_that_are_not_read_are_ignored(transform):
    extra = row(1.0, "a", "phone") | {"colour": ["red"]}
    assert transform.transform(extra).values.tobytes() == transform.transform(row(1.0, "a", "phone")).values.tobytes()


def test_text_that_is_no_valid_unicode_is_hashed_all_the_same(transform):
    assert transform.transform(row(1.0, "\ud800", "phone")).values.shape == (1, len(transform.names))


def test_memory_is_bounded_whatever_values_come(transform):
    tracemalloc.start()
    for batch in range(60):
        sites = [f"{batch}-{i}-" + "x" * (110 if i % 100 else 100_000) for i in range(1_000)]
        transform.transform({"price": [1.0] * 1_000, "site": sites, "device": ["phone"] * 1_000})
        del sites
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held_bytes < 2 * 20e6  # the site and its cross


def test_a_value_too_long_to_be_remembered_is_the_same_value_each_time(transform):
    long = "x" * 500
    again = [transform.transform(row(1.0, long, "phone")).values.tobytes() for _ in range(2)]
    assert again[0] == again[1]
