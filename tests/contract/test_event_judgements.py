"""Windows for the external judge, from either kind of store, and its judgements, each handed out once."""

import pytest

from event_stores import sql
from perch.adapters.events.store import EventStore
from perch.core.types import Judgement
from perch.signals.events import Prediction
from perch.signals.judging import LOOK_BACK_S, ROWS, STRETCH_S, Judged
from perch.signals.labels import Comparison, Cursor
from perch.signals.summary import JudgedPair

BEGIN_S = 1_000.0
ROLLOUT = Comparison("1", "2", BEGIN_S, judged=True)


@pytest.fixture
def store(place):
    """A store in which it is long after the begin of a rollout."""
    with EventStore(place, 600.0, lambda: BEGIN_S + 500) as store:
        yield store


def asked(i, arm, value, time_s=BEGIN_S + 1, version=None, **told):
    version = version or {"stable": "1"}.get(arm, "2")
    told = told or {"features": {"age": value}}
    return Prediction(f"{arm if arm == 'canary' else 'r'}{i}", "ads", version, arm, time_s, 0.1, 8, 0, **told)


def both(count=ROWS, time_s=BEGIN_S + 1):
    """Requests of both arms, live."""
    return [
        asked(f"{i}@{time_s}", arm, v, time_s) for i in range(count) for arm, v in (("stable", 1.0), ("canary", 2.0))
    ]


def judged(window, p_value=0.5, **other):
    told = {name: getattr(window, name) for name in ("stable", "canary", "from_s", "until_s")}
    return Judged(**{**told, "p_value": p_value, "finding": f"p is {p_value}", **other})


def test_a_window_has_the_rows_of_both_arms_from_the_begin_of_the_rollout(store):
    store.add_predictions([asked(i, "canary", 0.0, BEGIN_S - 1) for i in range(500)])
    store.add_predictions([asked(i, "baseline", 7.0, version="1") for i in range(500)])
    store.add_predictions(both())
    window = store.window(ROLLOUT)
    assert (window.stable, window.canary, window.from_s, window.until_s) == ("1", "2", BEGIN_S, BEGIN_S + STRETCH_S)
    assert window.stable_rows == [{"age": 1.0}] * ROWS
    assert window.canary_rows == [{"age": 2.0}] * ROWS


def test_too_few_rows_make_no_window(store):
    store.add_predictions(both(ROWS - 1))
    assert store.window(ROLLOUT) is None


def test_the_first_row_is_compared_and_not_the_one_that_a_model_chose_to_show(store):
    shown, first = {"age": 5.0}, {"age": 3.0}
    for i in range(ROWS):
        live = Prediction(f"r{i}", "ads", "1", "stable", BEGIN_S + 1, 0.1, 8, 4, features=shown, first=first)
        copy = Prediction(f"r{i}", "ads", "2", "shadow", BEGIN_S + 1, 0.1, 8, 2, first=first)
        of_an_older_pod = Prediction(f"old{i}", "ads", "1", "stable", BEGIN_S + 1, 0.1, 8, 4, features=shown)
        store.add_predictions([live, copy, of_an_older_pod])
    window = store.window(ROLLOUT)
    assert window.stable_rows == window.canary_rows == [first] * ROWS


def test_the_next_window_begins_where_the_last_one_that_was_judged_ended(store):
    store.add_predictions(both() + both(time_s=BEGIN_S + STRETCH_S + 1))
    first = store.window(ROLLOUT)
    assert store.window(ROLLOUT) == first
    assert store.add_judgement(judged(first))
    second = store.window(ROLLOUT)
    assert (second.from_s, second.until_s) == (first.until_s, BEGIN_S + 2 * STRETCH_S)
    assert store.add_judgement(judged(second))
    assert store.window(ROLLOUT) is None


def test_no_request_counts_twice_however_often_and_by_whom_a_window_is_judged(store):
    store.add_predictions(both() + both(time_s=BEGIN_S + STRETCH_S + 1))
    window = store.window(ROLLOUT)
    assert store.add_judgement(judged(window, 0.5))
    assert not store.add_judgement(judged(window, 1e-9))
    assert not store.add_judgement(judged(window, 1e-9, until_s=window.until_s + STRETCH_S))
    assert store.labels_since(ROLLOUT, Cursor()).judgements == (Judgement(0.5, "p is 0.5"),)


def test_the_arm_with_little_traffic_is_waited_for_whichever_it_is(store):
    """As after a promotion, when the champion of before keeps one request in fifty."""
    few = [asked(i, "stable", 1.0, BEGIN_S + 1 + i % 400) for i in range(ROWS + 100)]
    many = [asked(i, "canary", 1.0, BEGIN_S + 1 + i % 400) for i in range(10 * ROWS)]
    store.add_predictions(few + many)
    window = store.window(ROLLOUT)
    assert ROWS <= len(window.stable_rows) == len(window.canary_rows) < ROWS + 10


def test_rows_that_wait_too_long_for_the_other_arm_are_left_out(place):
    with EventStore(place, 600.0, lambda: BEGIN_S + LOOK_BACK_S + 100) as store:
        store.add_predictions([*both(), *both(time_s=BEGIN_S + LOOK_BACK_S)])
        assert store.window(ROLLOUT).from_s == BEGIN_S + 100


def test_the_summary_tells_how_often_versions_were_compared_and_how_it_ended_last(store):
    assert store.summary().compared == ()
    for i, p_value in enumerate((0.5, 0.25)):
        store.add_judgement(Judged("1", "2", BEGIN_S + i, BEGIN_S + i + 1, p_value))
    store.add_judgement(Judged("1", "3", BEGIN_S, BEGIN_S + 1, 0.125))
    assert store.summary().compared == (JudgedPair("1", "2", 2, 0.25), JudgedPair("1", "3", 1, 0.125))


def test_each_judgement_is_handed_out_once(store):
    store.add_predictions(both() + both(time_s=BEGIN_S + STRETCH_S + 1))
    store.add_judgement(judged(store.window(ROLLOUT), 0.5))
    first = store.labels_since(ROLLOUT, Cursor())
    assert store.labels_since(ROLLOUT, first.cursor).judgements == ()
    store.add_judgement(judged(store.window(ROLLOUT), 0.25))
    second = store.labels_since(ROLLOUT, first.cursor)
    assert second.judgements == (Judgement(0.25, "p is 0.25"),)
    assert store.labels_since(ROLLOUT, second.cursor).judgements == ()


def test_a_rollout_that_asks_for_none_is_given_none_and_one_that_came_later_no_earlier_ones(store):
    store.add_predictions(both())
    store.add_judgement(judged(store.window(ROLLOUT)))
    assert store.labels_since(Comparison("1", "2", BEGIN_S), Cursor()).judgements == ()
    assert store.labels_since(Comparison("1", "2", BEGIN_S + 5, judged=True), Cursor()).judgements == ()


def test_a_judge_that_was_away_for_long_catches_up_window_by_window(store):
    for i in range(6):
        store.add_predictions(both(ROWS, BEGIN_S + STRETCH_S * i + 1))
    ends = []
    while window := store.window(ROLLOUT):
        store.add_judgement(judged(window))
        ends.append(window.until_s - BEGIN_S)
    assert ends == [STRETCH_S * i for i in range(1, 7)]


def test_a_store_of_before_there_were_first_rows_learns_of_them(place):
    with EventStore(place, 600.0) as store:
        sql(store, "ALTER TABLE inputs DROP COLUMN first_row")
        sql(store, "DROP TABLE judgements")
        sql(store, "UPDATE event_store SET schema_version = 2")
    with EventStore(place, 600.0, lambda: BEGIN_S + 500) as store:
        store.add_predictions(both())
        assert store.window(ROLLOUT) is not None
