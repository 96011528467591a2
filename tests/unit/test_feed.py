from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from perch.errors import DataError
from perch.pipeline.feed import _Stretch, check_unbroken
from perch.workload.schema import CLICK_LOG

SCHEMA = replace(CLICK_LOG, numeric=("price",), categorical=("site",), slices=())
ROWS = 20_000


@pytest.fixture
def log():
    rng = np.random.default_rng(0)
    price = np.where(rng.random(ROWS) < 0.05, np.nan, rng.random(ROWS))
    return pd.DataFrame({"price": price, "site": "home"}), rng.random(ROWS) < 0.02


def test_a_log_without_a_break_is_let_through(log):
    check_unbroken(*log, SCHEMA)


def test_a_stretch_without_clicks_is_refused_and_named(log):
    frame, clicked = log
    clicked[16_000:] = False
    with pytest.raises(DataError, match=r"no click was told of in rows 15,9\d\d to 19,999, where about \d\d were"):
        check_unbroken(frame, clicked, SCHEMA)


def test_rare_clicks_are_no_break(log):
    frame, _ = log
    clicked = np.random.default_rng(1).random(ROWS) < 0.001
    check_unbroken(frame, clicked, SCHEMA)


def test_an_input_that_is_missing_for_a_while_is_refused_and_named(log):
    frame, clicked = log
    frame.loc[8_000:9_000, "site"] = None
    with pytest.raises(DataError, match=r"site is missing in all rows from 8,000 to 9,000, and else in 0 % of them"):
        check_unbroken(frame, clicked, SCHEMA)


def test_an_input_that_is_known_only_later_is_no_break(log):
    frame, clicked = log
    frame.loc[:2_000, "price"] = np.nan
    check_unbroken(frame, clicked, SCHEMA)


def test_an_input_that_is_mostly_missing_is_no_break(log):
    frame, clicked = log
    frame["price"] = np.where(np.random.default_rng(2).random(ROWS) < 0.98, np.nan, 1.0)
    check_unbroken(frame, clicked, SCHEMA)


@pytest.mark.parametrize("seed", range(20))
def test_the_longest_run_is_found_wherever_the_parts_are_cut(seed):
    rng = np.random.default_rng(seed)
    flags = np.repeat(rng.random(40) < 0.5, rng.integers(1, 9, 40))
    whole, parts = _Stretch(), _Stretch()
    whole.add(flags)
    for part in np.split(flags, np.sort(rng.integers(0, len(flags), 30))):
        parts.add(part)
    assert (parts.begin, parts.end, parts.rows, parts.set_rows) == (whole.begin, whole.end, whole.rows, whole.set_rows)
    assert flags[whole.begin : whole.end].all()
    assert not any(flags[i : i + whole.length + 1].all() for i in range(len(flags) - whole.length))
