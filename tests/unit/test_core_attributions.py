"""When what an input adds to the scores is no longer what it added in training, and when that is chance."""

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from perch.core.attributions import TOLERATED, Attributed, Sample
from perch.core.codec import dumps, loads
from perch.core.diagnosis import Cause, diagnose
from perch.core.inputs import State, Window, findings, judged
from perch.core.movement import Kind
from perch.core.streak import ALARMS_A_WEEK, WINDOW_S, level_of


def sample(rows, mean, deviation=0.3, magnitude=0.25):
    return Sample(rows, mean, magnitude, mean**2 + deviation**2)


PRICE = Attributed("price", sample(4_000, 0.1), (0.0, 0.0), sample(1_000, 0.1))


def adding(mean, of=PRICE, rows=1_000):
    return (replace(of, found=sample(rows, mean)),)


def after(*windows, champion=1, state=None):
    state = state or State()
    for number, attributed in enumerate(windows):
        state = judged(state, Window(300.0 * number, 300.0 * (number + 1), champion, None, (), (), attributed))
    return state


CALM, MORE = (PRICE,), adding(0.4)


def test_two_windows_in_a_row_make_a_finding_that_names_the_input_with_both_means():
    assert not findings(after(CALM, MORE))
    (found,) = findings(after(CALM, MORE, MORE))
    assert (found.features, found.kind, found.since_s) == (("price",), Kind.ATTRIBUTION, 300.0)
    assert found.sentence.startswith("price adds +0.40 to the log-odds, and added +0.10 in training: 0.")


def test_it_ends_after_two_windows_that_are_as_training():
    assert findings(after(MORE, MORE, CALM))
    assert not findings(after(MORE, MORE, CALM, CALM))


def test_adding_less_is_a_drift_as_much_as_adding_more():
    assert findings(after(*[adding(-0.2)] * 2))


def test_what_is_too_small_to_matter_is_left_alone_however_sure_it_is():
    assert not findings(after(*[adding(0.14, rows=10**9)] * 5))
    assert findings(after(*[adding(0.18, rows=10**9)] * 2))


def test_what_differs_from_hour_to_hour_in_training_may_differ_as_much():
    assert not findings(after(*[adding(0.4, replace(PRICE, natural=(0.3, 0.0)))] * 3))


def test_a_window_of_too_few_rows_changes_nothing():
    few = adding(3.0, rows=20)
    assert not findings(after(few, few))
    assert findings(after(MORE, MORE, adding(0.1, rows=20), adding(0.1, rows=20)))


def test_an_input_that_no_longer_tells_rows_apart_is_found_though_the_mean_is_as_it_was():
    same = (replace(PRICE, found=sample(1_000, 0.1, 0.0, 0.1)),)
    (found,) = findings(after(same, same))
    assert found.sentence.startswith(
        "price moves the log-odds by 0.10 either way, and moved them by 0.25 in training: "
    )


def test_rows_that_are_alike_are_not_taken_for_certainty():
    (alike,) = after((replace(PRICE, found=sample(100, 0.1, 0.0)),)).attributions.values()
    (varied,) = after(adding(0.1, rows=100)).attributions.values()
    assert alike.limit == varied.limit


def test_another_champion_is_seen_for_the_first_time():
    state = after(MORE, MORE)
    assert not findings(after(MORE, champion=2, state=state))


def test_inputs_that_moved_explain_what_they_add_and_nothing_else_explains_it():
    (added,) = findings(after(MORE, MORE))
    moved = replace(added, kind=Kind.MOVED, sentence="price has moved.")
    assert diagnose([added, moved], None, None).sentence == "Inputs moved. price has moved."
    told = diagnose([added], None, None)
    assert told.cause is Cause.ATTRIBUTIONS
    assert "What inputs add to the scores moved, and no input by itself did. price adds +0.40" in told.sentence


def test_the_state_comes_back_from_its_record_and_one_of_an_earlier_perch_is_read():
    state = after(CALM, MORE, MORE)
    assert loads(State, dumps(state)) == state
    assert loads(State, '{"champion":1,"canary":null,"looked_s":0.0,"readings":{}}').attributions == {}


@pytest.mark.parametrize("repeats", [1, 4])
def test_a_stream_that_stays_as_it_was_alarms_at_most_once_in_four_weeks(repeats):
    rng = np.random.default_rng(repeats)
    names, rows, weeks, alarms = [f"x{i}" for i in range(20)], 200, 1, 0
    every = rng.exponential(1.0, 4_000) - 0.9
    trained = Sample(4_000, float(every.mean()), float(np.abs(every).mean()), float((every**2).mean()))
    state, past = State(), [None] * len(names)
    for number in range(2_016 * weeks):
        # skewed, as what a rare category adds is
        parts = np.repeat(rng.exponential(1.0, (rows // repeats, len(names))) - 0.9, repeats, axis=0)
        figures = np.stack([parts.mean(0), np.abs(parts).mean(0), (parts**2).mean(0)], axis=1).tolist()
        now = [Sample(rows, *one) for one in figures]
        window = tuple(
            Attributed(name, trained, (0.0, 0.0), found, before)
            for name, found, before in zip(names, now, past, strict=True)
        )
        known = {finding.features for finding in findings(state)}
        state, past = judged(state, Window(300.0 * number, 300.0 * number + 300, 1, None, (), (), window)), now
        alarms += len({finding.features for finding in findings(state)} - known)
    assert alarms == 0


@pytest.mark.parametrize("inputs", [1, 20])
def test_chance_makes_one_finding_in_four_weeks_by_mean_or_magnitude_of_any_input(inputs):
    window = tuple(replace(PRICE, feature=f"input {i}", found=sample(10**12, 0.1 + 1e-9)) for i in range(inputs))
    reading = after(window).attributions["input 0"]
    chance = 0.3 / 4_000**0.5
    either = 2 * 2 * NormalDist().cdf(-(reading.limit - TOLERATED) / chance)  # two figures of two signs
    assert inputs * either**2 * 7 * 86_400 / WINDOW_S == pytest.approx(ALARMS_A_WEEK, rel=1e-3)


def test_what_is_compared_by_two_figures_has_its_share_of_the_alarms_for_both():
    level, windows = level_of([1, 2, 2]), 7 * 86_400 / WINDOW_S
    assert windows * (level**2 + 2 * (2 * level) ** 2) == pytest.approx(ALARMS_A_WEEK)
