"""When an input drifts, since when, and in which words."""

from dataclasses import replace

import numpy as np
import pytest

from perch.core.codec import dumps, loads
from perch.core.inputs import Counted, Kind, State, Window, findings, judged, score_drift

BINS = ("0.0", "2.0", "4.0", "8.0", "16.0", "+Inf", "missing")
TRAINED = (0, 2_500, 2_500, 2_500, 2_400, 0, 100)
PRICE = Counted("price", "", BINS, TRAINED, TRAINED)
PAIR = Counted("price", "brand", tuple(map(str, range(4))), (4_500, 500, 500, 4_500), (4_500, 500, 500, 4_500))


def drawn(rng, counted, rows):
    shares = np.array(counted.expected) / sum(counted.expected)
    return replace(counted, found=tuple(rng.multinomial(rows, shares).tolist()))


def after(*windows, champion=1, canary=None, state=None):
    state = state or State()
    for number, counted in enumerate(windows):
        of_split = tuple(one for one in counted if one.natural < 0)
        of_training = tuple(one for one in counted if one.natural >= 0)
        state = judged(state, Window(300.0 * number, 300.0 * (number + 1), champion, canary, of_training, of_split))
    return state


def counted(*found, of=PRICE):
    return (replace(of, found=found),)


CALM = (PRICE,)
TWICE = counted(0, 1_250, 1_250, 2_500, 2_500, 2_400, 100)
MISSING = counted(0, 1_750, 1_750, 1_750, 1_680, 0, 3_070)


def test_two_windows_in_a_row_make_a_drift_which_began_with_the_first_of_them():
    assert not findings(after(CALM, TWICE))
    (found,) = findings(after(CALM, TWICE, TWICE))
    assert (found.features, found.against, found.since_s) == (("price",), "training", 300.0)
    assert not findings(after(TWICE, CALM, TWICE))


def test_a_drift_ends_after_two_windows_within_the_limit():
    assert findings(after(TWICE, TWICE, CALM))
    assert not findings(after(TWICE, TWICE, CALM, CALM))
    (found,) = findings(after(TWICE, TWICE, CALM, TWICE))
    assert found.since_s == 0.0


def test_a_window_of_too_few_rows_changes_nothing():
    (few,) = counted(0, 10, 0, 0, 0, 0, 0)
    assert findings(after(TWICE, TWICE, (few,), (few,)))
    assert not findings(after((few,), (few,)))


@pytest.mark.parametrize(
    ("window", "kind", "says"),
    [
        (TWICE, Kind.UNSEEN, "of the requests have a price that training had not seen, and 0.0% had."),
        (MISSING, Kind.MISSING, "price is missing in 30.7% of the requests, and was in 1.0%."),
        (counted(0, 0, 10_000, 0, 0, 0, 0), Kind.CONSTANT, "price is constant: 100.0% of the requests are"),
        (
            counted(0, 400, 800, 3_700, 5_000, 0, 100),
            Kind.MOVED,
            "half of it is above 8.079 now, 2 times that, and was above 3.96",
        ),
    ],
)
def test_a_drift_is_told_with_what_moved_most(window, kind, says):
    (found,) = findings(after(window, window))
    assert found.kind is kind
    assert says in found.sentence


def test_categories_are_told_by_the_one_that_moved_most():
    country = Counted("country", "", ("#3f", "#40", "level0", "unseen", "missing"), (500, 300, 150, 45, 5), ())
    (moved,) = findings(after(*[counted(100, 700, 150, 45, 5, of=country)] * 2))
    assert "country has moved: 69.9% of the requests are of one category (#40), and 30.0% were" in moved.sentence
    (unseen,) = findings(after(*[counted(250, 150, 75, 520, 5, of=country)] * 2))
    assert "51.9% of the requests have a country that training had not seen, and 4.5% had." in unseen.sentence


def test_what_moves_with_the_clock_may_move_as_much_but_not_be_missing_or_odd():
    clock = replace(PRICE, natural=8.0)
    assert not findings(after(*[counted(0, 9_900, 0, 0, 0, 0, 100, of=clock)] * 2))
    assert findings(after(*[counted(0, 1_750, 1_750, 1_750, 1_680, 0, 3_070, of=clock)] * 2))


def test_columns_that_no_longer_go_together_are_told_when_neither_moved_by_itself():
    torn = replace(PAIR, found=(2_500, 2_500, 2_500, 2_500))
    (found,) = findings(after(*[(PRICE, torn)] * 2))
    assert (found.kind, found.features) == (Kind.SWAPPED, ("brand", "price"))
    (found,) = findings(after(*[(*TWICE, torn)] * 2))
    assert found.features == ("price",), "what moved by itself explains it"


def test_the_column_that_is_whole_elsewhere_is_not_blamed():
    def pair(feature, other, *, torn):
        return replace(PAIR, feature=feature, other=other, found=(2_500,) * 4 if torn else PAIR.found)

    window = (pair("a", "b", torn=True), pair("a", "c", torn=True), pair("b", "c", torn=False))
    (found,) = findings(after(window, window))
    assert found.features == ("a",)
    apart = (pair("a", "b", torn=True), pair("c", "d", torn=True))
    assert [found.features for found in findings(after(apart, apart))] == [("a", "b"), ("c", "d")]


def test_a_pair_that_moved_but_still_goes_together_is_no_finding():
    moved = replace(PAIR, found=(7_000, 100, 400, 2_500))
    assert not findings(after(*[(moved,)] * 3))


def test_scores_that_drift_are_told_apart_from_inputs():
    state = after(*[tuple(replace(one, feature="_score") for one in TWICE)] * 2)
    assert not findings(state)
    assert score_drift(state).drifts
    assert score_drift(after(CALM)) is None


def test_a_canary_may_answer_other_scores():
    canary = replace(TWICE[0], feature="_score", natural=-0.001)
    state = after((*CALM, canary), (*CALM, canary), canary=2)
    assert state.readings["champion _score"].psi > state.readings["champion _score"].limit
    assert not any(reading.drifts for reading in state.readings.values())


def test_another_champion_is_seen_for_the_first_time_and_another_canary_only_itself():
    canary = replace(TWICE[0], natural=-0.001)
    state = after((*TWICE, canary), (*TWICE, canary), canary=2)
    assert {found.against for found in findings(state)} == {"training", "champion"}
    other = after((*TWICE, canary), canary=3, state=state)
    assert {found.against for found in findings(other)} == {"training"}
    assert not findings(after(TWICE, champion=2, state=state))


def test_the_state_comes_back_from_its_record_as_it_was():
    state = after(CALM, TWICE, (*TWICE, PAIR))
    assert loads(State, dumps(state)) == state


def stationary_alarms(weeks, rows, repeats=1):
    rng = np.random.default_rng([rows, repeats])
    columns = tuple(
        replace(PRICE, feature=f"x{i}", expected=tuple(rng.multinomial(6_000, np.array(TRAINED) / 10_000).tolist()))
        for i in range(20)
    )
    state, alarms, past = State(), 0, [None] * len(columns)
    for number in range(round(2_016 * weeks)):
        shares = np.array(TRAINED) / sum(TRAINED)
        draws = repeats * rng.multinomial(rows // repeats, shares, len(columns))
        now = [tuple(draw) for draw in draws.tolist()]
        window = tuple(replace(c, found=f, previous=p) for c, f, p in zip(columns, now, past, strict=True))
        drifted = {reading.feature for reading in state.readings.values() if reading.drifts}
        state, past = judged(state, Window(300.0 * number, 300.0 * number + 300, 1, None, window)), now
        alarms += sum(r.drifts and r.feature not in drifted for r in state.readings.values())
    return alarms


@pytest.mark.parametrize(("rows", "repeats"), [(200, 1), (1_000, 5)])
def test_a_stream_that_stays_as_it_was_alarms_at_most_once_a_week(rows, repeats):
    assert stationary_alarms(0.2, rows, repeats) == 0  # `make bench-drift` looks for weeks
