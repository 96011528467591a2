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
    return Prediction(request_id, "ads", version, arm, time_s, 0.1, 8)


def counts(store):
    summary = store.summary()
    return {r: n for r in ("joined", "pending", "late", "duplicate", "malformed") if (n := summary.count(r))}


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
