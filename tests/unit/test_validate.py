from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from perch.errors import DataError
from perch.pipeline.validate import validate
from perch.workload.schema import Schema

SCHEMA = Schema(numeric=("price", "age"), categorical=("site",), baseline=("site",), ranges={"price": (0, 100)})

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
    measured = validate(log, SCHEMA)
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
        validate(damage(log), SCHEMA)


@pytest.fixture
def timed(log):
    return log.assign(click_time=log["time"].where(log["click"] == 1) + 5, explored=0.0)


def test_a_log_with_times_of_its_clicks_passes(timed):
    assert validate(timed, TIMED).clicks == 10


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
        (lambda log: log.assign(explored=2.0), "explored is neither 0 nor 1 in 500 rows"),
        (lambda log: log.assign(explored=np.nan), "explored is missing"),
    ],
)
def test_a_click_that_would_silently_become_none_is_named(timed, damage, complaint):
    with pytest.raises(DataError, match=complaint):
        validate(damage(timed), TIMED)


def test_every_broken_column_is_named_at_once(log):
    with pytest.raises(DataError, match=r"price.*; site"):
        validate(log.assign(price=-1.0, site=pd.Categorical([None] * 500, ["a"])), SCHEMA)
