"""From a model and its rows to the input that is named: counted, read, judged."""

import asyncio
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from perch.core.inputs import State, Window, findings, judged
from perch.serving.attributing import SAMPLE_S, Attributing, AttributionCounts
from perch.serving.question import Identity
from perch.serving.sketches import InputCounts, InputsPage
from perch.signals.attributions import attributed, parse_attributions
from perch.signals.inputs import parse_inputs
from perch.workload.attribution import Attributor
from profiled import small_market

IDENTITY = Identity("ads", "3")


@pytest.fixture(scope="module")
def market():
    prepared, scorer, profile = small_market()
    rows = prepared.evaluation[prepared.evaluation["explored"] == 1]
    return rows, scorer, profile, Attributor(scorer)


def counted(market, frame):
    """What a process tells that was asked about these rows."""
    _, scorer, profile, attributor = market
    counts = InputCounts(profile)
    counts.scores[0] = len(frame)
    for row in attributor.inputs_of(scorer.contributions(scorer.transform.transform_frame(frame).values)).tolist():
        counts.attributions.add(row)
    return parse_inputs(InputsPage(profile, IDENTITY).render({"stable": counts}).decode()).attributions


def after(market, *frames):
    state, past = State(), None
    for number, frame in enumerate(frames):
        told = counted(market, frame)
        window = attributed(told.trained, told.arms["stable"], past)
        state, past = (
            judged(state, Window(300.0 * number, 300.0 * number + 300, 3, None, (), (), window)),
            told.arms["stable"],
        )
    return state


def windows(rows, count, seed=0):
    rng = np.random.default_rng(seed)
    return [rows.iloc[rng.integers(0, len(rows), 600)] for _ in range(count)]


def constant(frame, name):
    value = frame[name].dropna().iloc[0]
    return frame.assign(**{name: pd.Series(value, index=frame.index, dtype=frame[name].dtype)})


BREAKS = {
    "times 100": lambda frame: frame.assign(price=frame["price"] * 100),
    "constant": lambda frame: constant(frame, "position"),
    "missing": lambda frame: frame.assign(site=None),
}
NAMED = {"times 100": "price", "constant": "position", "missing": "site"}


@pytest.mark.parametrize("how", BREAKS)
def test_a_broken_input_is_named_within_two_windows(market, how):
    calm, broken = windows(market[0], 2), [BREAKS[how](frame) for frame in windows(market[0], 2, seed=1)]
    state = after(market, *calm, *broken)
    assert NAMED[how] in {name for finding in findings(state) for name in finding.features}


def test_rows_like_those_of_training_find_nothing(market):
    assert not findings(after(market, *windows(market[0], 6)))


def test_a_page_tells_the_means_of_training_and_what_was_added_since(market):
    rows, scorer, profile, attributor = market
    told = counted(market, rows.iloc[:50])
    assert [one.feature for one in told.trained] == list(attributor.inputs)
    added = attributor.inputs_of(scorer.contributions(scorer.transform.transform_frame(rows.iloc[:50]).values))
    window = attributed(told.trained, told.arms["stable"], None)
    for one, column, trained in zip(window, added.T, profile.attributions, strict=True):
        assert one.found.rows == 50
        assert one.found.mean == pytest.approx(column.mean(), abs=1e-5)
        assert one.found.magnitude == pytest.approx(np.abs(column).mean(), abs=1e-5)
        assert one.found.square == pytest.approx((column**2).mean(), abs=1e-5)
        assert one.trained.mean == pytest.approx(trained.mean, abs=1e-5)


def test_an_earlier_page_tells_nothing_and_a_broken_one_is_refused():
    assert parse_attributions("perch_inputs_total 3\n").trained == ()
    line = 'perch_attribution_trained{model="a",version="1",feature="x",figure="mean"} '
    with pytest.raises(ValueError, match="lacks 'rows'"):
        parse_attributions(f"{line}0.5\n")
    with pytest.raises(ValueError, match="nobody adds nan"):
        parse_attributions(f"{line}nan\n")


def test_the_first_row_is_counted_four_times_a_second_and_no_oftener(market):
    rows, scorer, profile, attributor = market
    now_s = [0.0]
    attributing = Attributing(attributor, profile.attributions, clock=lambda: now_s[0])
    counts = AttributionCounts(len(profile.attributions))
    matrix = scorer.transform.transform_frame(rows.iloc[:1])

    async def ask():
        for _ in range(9):
            attributing.sample(counts, matrix.values)
            now_s[0] += SAMPLE_S / 3
        await attributing.row(matrix.values, 0)  # its turn comes after theirs

    asyncio.run(ask())
    assert counts.rows == 3
    first = attributor.inputs_of(scorer.contributions(matrix.values))[0]
    np.testing.assert_allclose(np.subtract(counts.up, counts.down), 3 * first, atol=1e-5)
    np.testing.assert_allclose(counts.squared, 3 * first**2, atol=1e-5)


@pytest.mark.parametrize("earlier", [lambda told: (), lambda told: told[:-1], lambda told: told[::-1]])
def test_a_package_that_tells_nothing_of_these_inputs_is_not_sampled(market, caplog, earlier):
    rows, scorer, profile, attributor = market
    profile = replace(profile, attributions=earlier(profile.attributions))
    attributing, counts = Attributing(attributor, profile.attributions), InputCounts(profile)
    matrix = scorer.transform.transform_frame(rows.iloc[:1])

    async def ask():
        attributing.sample(counts.attributions, matrix.values)
        await attributing.row(matrix.values, 0)

    asyncio.run(ask())
    assert counts.attributions.rows == 0
    assert "IndexError" not in caplog.text
    assert b"perch_attributed_requests_total{" not in InputsPage(profile, IDENTITY).render({"stable": counts})
