"""Each outcome is counted once, by what became of it."""

import sqlite3

import pytest

from perch.errors import PlatformError
from perch.signals.collector import render
from perch.signals.events import Outcome, Prediction
from perch.signals.outcomes import OutcomeStore

WINDOW_S = 100.0


@pytest.fixture
def store(tmp_path):
    with OutcomeStore(tmp_path / "outcomes.sqlite", WINDOW_S) as store:
        yield store


def predicted(request_id, arm="stable", version="1", time_s=0.0):
    return Prediction(request_id, "ads", version, arm, time_s, 0.1, 8, 0)


def counts(store):
    summary = store.summary()
    return {r: n for r in ("joined", "pending", "late", "duplicate", "unknown", "malformed") if (n := summary.count(r))}


def test_an_outcome_joins_its_prediction(store):
    store.add_predictions([predicted("r1", "canary", "2")])
    store.add_outcomes([Outcome("r1", 1, 50.0)])
    (tally,) = store.summary().tallies
    assert (tally.result, tally.version, tally.arm, tally.outcomes, tally.clicks) == ("joined", "2", "canary", 1, 1)


def test_an_outcome_that_came_first_is_kept_and_joins_later(store):
    store.add_outcomes([Outcome("r1", 1, 50.0)])
    assert counts(store) == {"pending": 1}
    store.add_predictions([predicted("r1")])
    assert counts(store) == {"joined": 1}


def test_an_outcome_after_the_window_is_late_and_no_click(store):
    store.add_predictions([predicted("r1"), predicted("r2")])
    store.add_outcomes([Outcome("r1", 1, WINDOW_S), Outcome("r2", 1, WINDOW_S + 0.1)])
    assert counts(store) == {"joined": 1, "late": 1}
    assert b'perch_clicks_total{model="ads",version="1",arm="stable"} 1\n' in render(store.summary())


def test_an_outcome_that_is_told_again_is_a_duplicate_whatever_it_says(store):
    store.add_predictions([predicted("r1")])
    store.add_outcomes([Outcome("r1", 0, 1.0), Outcome("r1", 1, 2.0)])
    store.add_outcomes([Outcome("r1", 1, 3.0)])
    assert counts(store) == {"joined": 1, "duplicate": 2}
    assert sum(tally.clicks for tally in store.summary().tallies) == 0


def test_a_prediction_that_is_told_again_changes_nothing(store):
    store.add_predictions([predicted("r1")])
    store.add_outcomes([Outcome("r1", 1, 1.0)])
    store.add_predictions([predicted("r1", "canary", "2")] * 2)
    (tally,) = store.summary().tallies
    assert (tally.arm, tally.outcomes) == ("stable", 1)


@pytest.mark.parametrize("shadow_first", [True, False])
def test_the_shadow_of_a_request_does_not_take_its_outcome(store, shadow_first):
    both = [predicted("r1", "shadow", "2"), predicted("r1", "stable", "1")]
    store.add_outcomes([Outcome("r1", 1, 1.0)])
    for one in both if shadow_first else both[::-1]:
        store.add_predictions([one])
    (tally,) = store.summary().tallies
    assert (tally.arm, tally.version, tally.clicks) == ("stable", "1", 1)


def test_the_counts_survive_the_process(tmp_path):
    path = tmp_path / "outcomes.sqlite"
    with OutcomeStore(path, WINDOW_S) as store:
        store.add_predictions([predicted("r1")])
        store.add_outcomes([Outcome("r1", 1, 1.0), Outcome("r2", 1, 1.0)], malformed=3)
    with OutcomeStore(path, WINDOW_S) as store:
        assert counts(store) == {"joined": 1, "pending": 1, "malformed": 3}


def test_a_failed_batch_leaves_nothing_behind(store):
    store._db.execute("CREATE TRIGGER full BEFORE INSERT ON tallies BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    with pytest.raises(sqlite3.Error):
        store.add_outcomes([Outcome("r1", 1, 1.0)], malformed=1)
    store._db.execute("DROP TRIGGER full")
    assert counts(store) == {}


@pytest.fixture
def past(tmp_path):
    """A store whose clock is set by the test: `past.now_s`."""
    with OutcomeStore(tmp_path / "past.sqlite", WINDOW_S, lambda: store.now_s) as store:
        store.now_s = 0.0
        yield store


def at(store, now_s, predictions=(), outcomes=()):
    """Tell a store these ids at a time, the outcomes first."""
    store.now_s = now_s
    store.add_outcomes([Outcome(one, 1, now_s) for one in outcomes])
    store.add_predictions([predicted(one, time_s=now_s) for one in predictions])


def rows(store):
    return [store._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("predictions", "outcomes")]


def test_an_outcome_that_no_prediction_claims_within_the_window_is_unknown_and_told_again_a_duplicate(past):
    at(past, 0, ["r1"], ["nobody's"])
    at(past, WINDOW_S, ["r2"])
    assert counts(past) == {"pending": 1}
    at(past, WINDOW_S + 61, ["r3"], ["nobody's"])
    assert counts(past) == {"unknown": 1, "duplicate": 1}
    at(past, WINDOW_S + 62, ["nobody's"])
    assert counts(past) == {"unknown": 1, "duplicate": 1}
    assert b'perch_outcomes_total{model="",version="",arm="",result="unknown"} 1\n' in render(past.summary())


def test_what_is_two_windows_old_is_forgotten_and_stays_counted(past):
    at(past, 0, ["r1"], ["r1", "never"])
    at(past, 2 * WINDOW_S, ["r2"], ["r2"])
    assert rows(past) == [2, 3]
    at(past, 2 * WINDOW_S + 61, ["r3"])
    assert rows(past) == [2, 1]
    assert counts(past) == {"joined": 2, "unknown": 1}


def test_the_file_stops_growing_after_two_windows(past):
    pages = []
    for now_s in range(0, 1_200, 10):
        ids = [f"{now_s}-{i}" for i in range(100)]
        at(past, now_s, ids, [*ids, *(f"nobody's {one}" for one in ids)])
        pages.append(past._db.execute("PRAGMA page_count").fetchone()[0])
    assert pages[-1] <= 1.1 * max(pages[: len(pages) // 3])
    assert counts(past)["joined"] == 12_000
    assert sum(counts(past).values()) == 24_000


@pytest.mark.parametrize("time_s", [-1e12, 1e12])
def test_a_wrong_clock_of_a_sender_neither_counts_an_outcome_twice_nor_keeps_it_for_ever(past, time_s):
    at(past, 0, ["r1"])
    for now_s in (0, 61, 122):
        past.add_outcomes([Outcome("r1", 1, time_s), Outcome("nobody's", 1, time_s)])
        at(past, now_s, [f"at {now_s}"])
    assert sum(counts(past).values()) == 6
    assert counts(past)["duplicate"] == 4
    at(past, 4 * WINDOW_S, ["later"])
    assert rows(past) == [1, 0]


def test_an_outcome_is_kept_as_long_as_its_prediction_whatever_the_clocks_say(past):
    past.now_s = -3 * WINDOW_S
    past.add_outcomes([Outcome("r1", 1, 0.0)])
    at(past, 0, ["r1"], ["r1"])
    at(past, 61, ["r2"], ["r1"])
    assert counts(past) == {"joined": 1, "duplicate": 2}


def test_a_file_that_is_no_store_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "not-a-store"
    path.write_text("no database at all, but some text that is long enough to be read as a header" * 10)
    with pytest.raises(PlatformError, match="name another file"):
        OutcomeStore(path, WINDOW_S)


def test_the_page_of_counters_is_readable(store):
    from prometheus_client.parser import text_string_to_metric_families

    store.add_predictions([predicted("r1")])
    store.add_outcomes([Outcome("r1", 1, 1.0), Outcome("r2", 0, 1.0)], malformed=2)
    families = {f.name: f.samples for f in text_string_to_metric_families(render(store.summary()).decode())}
    assert {(s.labels["result"], s.value) for s in families["perch_outcomes"]} == {("joined", 1), ("malformed", 2)}
    assert [s.value for s in families["perch_clicks"]] == [1]
    assert [s.value for s in families["perch_outcomes_pending"]] == [1]
