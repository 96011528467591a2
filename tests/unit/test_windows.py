from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from perch.errors import DataError
from perch.pipeline.features import mature, prepare, spread
from perch.pipeline.settings import PipelineSettings
from perch.workload.schema import Schema

SCHEMA = Schema(numeric=(), categorical=("site",), baseline=("site",), label_time="click_time")


def make_log(n=100, *, step_s=10.0, delay_s=5.0, every=4):
    time = np.arange(n) * step_s
    click = (np.arange(n) % every == 0).astype(float)
    return pd.DataFrame(
        {
            "time": time,
            "click": click,
            "click_time": np.where(click, time + delay_s, np.nan),
            "site": ["a", "b"] * (n // 2),
        }
    )


def test_rows_younger_than_the_attribution_window_are_left_out():
    frame, clicked = mature(make_log(), SCHEMA, window_s=100)
    assert frame["time"].max() == 990 - 100
    assert len(frame) == len(clicked) == 90


def test_a_click_after_the_window_is_no_click():
    log = make_log()
    log.loc[0, "click_time"] = 101
    log.loc[4, "click_time"] = log.loc[4, "time"] + 100
    _, clicked = mature(log, SCHEMA, window_s=100)
    assert not clicked[0]
    assert clicked[4]


def test_final_labels_need_no_time_to_mature():
    frame, clicked = mature(make_log(), replace(SCHEMA, label_time=None), window_s=100)
    assert (len(frame), clicked.sum()) == (100, 25)


def test_a_log_shorter_than_the_window_is_an_error():
    with pytest.raises(DataError, match=r"every row is younger than the attribution window of 2\.8 h"):
        mature(make_log(), SCHEMA, window_s=10_000)


@pytest.mark.parametrize("unit", [1_000, 1_000_000])
def test_times_in_another_unit_than_seconds_are_an_error_that_names_it(unit):
    log = make_log()
    log[["time", "click_time"]] *= unit
    with pytest.raises(
        DataError, match=r"of 25 clicks only 0 come within .* of 100 s: .* in seconds.*attributionWindowS"
    ):
        mature(log, SCHEMA, window_s=100)


def test_windows_follow_each_other_in_time_whatever_the_order_of_the_log():
    log, settings = make_log(), PipelineSettings(attribution_window_s=0.1, history_share=0.5, evaluation_share=0.3)
    log["click_time"] = log["time"].where(log["click"] == 1)
    first = prepare(log, SCHEMA, settings, data_digest="")
    again = prepare(log.sample(frac=1, random_state=0), SCHEMA, settings, data_digest="")
    assert first.evaluation["time"].min() == pytest.approx(690, abs=10)
    assert len(first.training_clicked) == pytest.approx(20, abs=1)
    pd.testing.assert_frame_equal(first.evaluation, again.evaluation)
    for kind, data in first.inputs.items():
        np.testing.assert_array_equal(data.values, again.inputs[kind].values)


def test_the_feature_table_counts_history_only():
    settings = PipelineSettings(attribution_window_s=100, history_share=0.5)
    prepared = prepare(make_log(), SCHEMA, settings, data_digest="")
    table = prepared.inputs["lightgbm"].transform
    assert table.impressions.sum() == 45
    assert table.clicks.sum() == make_log()["click"][:45].sum()


def test_what_was_used_is_told_and_a_sample_of_it_kept():
    prepared = prepare(make_log(), SCHEMA, PipelineSettings(attribution_window_s=100, keep_rate=1), data_digest="")
    assert (prepared.data_from_s, prepared.data_to_s, prepared.data_rows) == (0, 890, 90)
    inputs = prepared.inputs["lightgbm"]
    rows = spread(len(inputs.clicked), len(prepared.training_sample))
    again = inputs.transform.transform_frame(prepared.training_sample)
    np.testing.assert_array_equal(again.values, np.take(inputs.values, rows, axis=0))


def test_rows_of_equal_time_are_never_split_between_windows():
    log = make_log(step_s=0)
    log["time"] = np.repeat([0.0, 3_600, 7_200, 10_800], 25)
    prepared = prepare(log, replace(SCHEMA, label_time=None), PipelineSettings(), data_digest="")
    assert set(prepared.evaluation["time"]) == {10_800}


@pytest.mark.parametrize(
    ("window", "rows"),
    [("history", slice(0, 30)), ("training", slice(30, 80)), ("evaluation", slice(80, 100))],
)
def test_a_window_without_clicks_is_an_error_that_names_it(window, rows):
    log = make_log()
    log.loc[log.index[rows], ["click", "click_time"]] = [0, np.nan]
    with pytest.raises(DataError, match=f"the {window} window .* holds no clicks"):
        prepare(log, SCHEMA, PipelineSettings(attribution_window_s=6), data_digest="")


def test_kinds_that_read_the_same_columns_share_one_matrix():
    kinds = ("lightgbm", "wide", "logistic")
    prepared = prepare(make_log(), SCHEMA, PipelineSettings(attribution_window_s=6), data_digest="", kinds=kinds)
    assert tuple(prepared.inputs) == kinds
    assert prepared.inputs["lightgbm"] is prepared.inputs["wide"]
