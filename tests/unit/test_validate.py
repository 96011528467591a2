from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from perch.errors import DataError
from perch.pipeline.validate import validate, validate_parts
from perch.workload.schema import Schema

SCHEMA = Schema(numeric=("price", "age"), categorical=("site",), baseline=("site",), ranges={"price": (0, 100)})

NOW_S = 10_000.0

TIMED = replace(SCHEMA, label_time="click_time", explored="explored")


@pytest.fixture
def log():
    n = 500
    return pd.DataFrame(
        {
            "price": np.linspace(0, 100, n),
            "age": np.where(np.arange(n) % 5, 1.0, np.nan),
            "site": pd.Categorical(["a", "b"] * (n // 2)),
            "click": (np.arange(n) % 50 == 0).astype(float),
            "time": np.arange(n, dtype=float),
        }
    )


def test_a_sound_log_passes_and_is_measured(log):
    measured = validate(log, SCHEMA, now_s=NOW_S)
    assert (measured.rows, measured.clicks) == (500, 10)
    assert measured.missing == {"age": pytest.approx(0.2)}


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda log: log.assign(age=np.nan), "age is missing in more than 99% of the rows"),
        (lambda log: log.assign(site=pd.Categorical([None] * 500, ["a"])), "site is missing in more than 99%"),
        (
            lambda log: log.assign(price=log["price"] - 50),
            r"price is outside 0 to 100 in 250 rows, first -50.0 in row 0",
        ),
        (lambda log: log.assign(age=np.inf), "age is infinite in 500 rows"),
        (lambda log: log.assign(click=0.0), "click is 0 everywhere: the log has no clicks at all"),
        (lambda log: log.assign(click=1.0), "click is 1 nearly everywhere"),
        (lambda log: log.assign(click=2.0), "click is neither 0 nor 1"),
        (lambda log: log.assign(click=np.nan), "click is missing"),
        (lambda log: log.assign(time=np.nan), "time is missing"),
        (lambda log: log.assign(price="cheap"), "price"),
    ],
)
def test_a_broken_column_is_named_with_what_is_wrong(log, damage, complaint):
    with pytest.raises(DataError, match=complaint):
        validate(damage(log), SCHEMA, now_s=NOW_S)


@pytest.fixture
def timed(log):
    return log.assign(click_time=log["time"].where(log["click"] == 1) + 5, explored=0.0)


def test_a_log_with_times_of_its_clicks_passes(timed):
    assert validate(timed, TIMED, now_s=NOW_S).clicks == 10


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (
            lambda log: log.assign(click_time=log["click_time"].where(log["time"] > 200)),
            r"click_time is missing beside a click in 5 rows, first in row 0\.",
        ),
        (
            lambda log: log.assign(click_time=log["click_time"] - 6),
            r"click_time is before the impression in 10 rows, first -1\.0 in row 0\.",
        ),
        (lambda log: log.assign(time=np.inf), "time is infinite in 500 rows"),
        (
            lambda log: log.assign(time=log["time"].where(log["time"] < 491, 20_000.0)),
            r"^the log cannot be trained on: time is in the future in 9 rows, first 20000\.0 in row 491\.",
        ),
        (
            lambda log: log.assign(click_time=log["click_time"].replace(455.0, 20_000.0)),
            r"^the log cannot be trained on: click_time is in the future in 1 rows, first 20000\.0 in row 450\.",
        ),
        (lambda log: log.assign(explored=2.0), "explored is neither 0 nor 1 in 500 rows"),
        (lambda log: log.assign(explored=np.nan), "explored is missing"),
    ],
)
def test_a_click_that_would_silently_become_none_is_named(timed, damage, complaint):
    with pytest.raises(DataError, match=complaint):
        validate(damage(timed), TIMED, now_s=NOW_S)


def test_every_broken_column_is_named_at_once(log):
    with pytest.raises(DataError, match=r"price.*; site"):
        validate(log.assign(price=-1.0, site=pd.Categorical([None] * 500, ["a"])), SCHEMA, now_s=NOW_S)


def test_a_clock_that_is_a_little_ahead_is_let_through(timed):
    assert validate(timed, TIMED, now_s=499.0 - 3_000)


def test_a_part_that_was_delivered_twice_is_refused_and_its_first_row_named(log):
    twice = pd.concat([log, log[100:110]], ignore_index=True)
    with pytest.raises(DataError, match=r"10 of 510 rows are copies of earlier ones, first row 500: a part of it was"):
        validate(twice, SCHEMA, now_s=NOW_S)


def test_one_row_that_came_twice_is_let_through(log):
    assert validate(pd.concat([log, log[100:101]], ignore_index=True), SCHEMA, now_s=NOW_S).rows == 501


def test_rows_of_equal_time_may_be_equal_where_the_log_has_only_the_hour(log):
    coarse = pd.concat([log.assign(time=np.arange(500) // 50)] * 2, ignore_index=True).astype({"time": float})
    assert validate(coarse, SCHEMA, now_s=NOW_S).rows == 1_000


def test_rows_of_one_time_that_differ_are_no_copies(log):
    pairs = log.assign(time=np.arange(500) // 2 * 1.0)
    assert validate(pairs, SCHEMA, now_s=NOW_S).rows == 500


def in_parts(log):
    return [log[:200], log[200:201], log[201:]]


def test_a_log_in_parts_measures_what_it_measures_at_once(log):
    parts, whole = validate_parts(in_parts(log), SCHEMA, now_s=NOW_S), validate(log, SCHEMA, now_s=NOW_S)
    assert (parts.rows, parts.clicks) == (whole.rows, whole.clicks)
    assert parts.missing == pytest.approx(whole.missing)


@pytest.mark.parametrize(
    "damage",
    [
        lambda log: log.assign(age=np.nan),
        lambda log: log.assign(click=0.0),
        lambda log: log.assign(click=1.0),
        lambda log: log.assign(price=log["price"].where(log.index != 444, 101.0)),
    ],
)
def test_a_log_in_parts_is_refused_in_the_same_words(log, damage):
    with pytest.raises(DataError) as whole:
        validate(damage(log), SCHEMA, now_s=NOW_S)
    with pytest.raises(DataError) as parts:
        validate_parts(in_parts(damage(log)), SCHEMA, now_s=NOW_S)
    assert str(parts.value) == str(whole.value)


def test_an_input_that_is_first_known_later_may_be_missing_from_the_first_part(log):
    late = log.assign(age=log["age"].where(log.index > 220))
    assert validate_parts(in_parts(late), SCHEMA, now_s=NOW_S).missing["age"] > 0.5
