"""One set of checks for the event store, in SQLite and in PostgreSQL: each outcome is counted once, by its result."""

import pytest

from event_stores import sql
from perch.adapters.events.engine import StoreError
from perch.adapters.events.parking import MOST, Parked
from perch.adapters.events.store import MOST_SOURCES, EventStore
from perch.collector.page import render
from perch.errors import PlatformError
from perch.signals.events import Outcome, Prediction

WINDOW_S = 100.0


@pytest.fixture
def store(place):
    with EventStore(place, WINDOW_S) as store:
        yield store


def predicted(request_id, arm="stable", version="1", time_s=0.0):
    return Prediction(request_id, "ads", version, arm, time_s, 0.1, 8, 0)


def counts(store):
    summary = store.summary()
    return {
        r: n for r in ("joined", "pending", "late", "duplicate", "contradictory", "unknown") if (n := summary.count(r))
    }


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


def test_an_outcome_that_is_told_again_is_a_duplicate_or_contradicts_the_first_which_stays(store):
    store.add_predictions([predicted("r1")])
    store.add_outcomes([Outcome("r1", 0, 1.0), Outcome("r1", 1, 2.0)])
    store.add_outcomes([Outcome("r1", 1, 3.0), Outcome("r1", 0, 3.0)])
    assert counts(store) == {"joined": 1, "contradictory": 2, "duplicate": 1}
    assert sum(tally.clicks for tally in store.summary().tallies) == 0


def test_outcomes_of_other_sources_are_kept_and_counted_beside_the_click(store):
    store.add_predictions([predicted("r1")])
    store.add_outcomes([Outcome("r1", 1, 1.0), Outcome("r1", 0, 2.0, 9.5, "purchase")])
    store.add_outcomes([Outcome("r1", 1, 3.0, 4.0, "rating", explicit=True, cost=0.2)])
    tallies = {(tally.source, tally.result): tally.clicks for tally in store.summary().tallies}
    assert tallies == {("click", "joined"): 1, ("purchase", "joined"): 0, ("rating", "joined"): 1}
    kept = sql(store, "SELECT source, explicit, value, cost FROM outcomes ORDER BY source")
    assert kept == [("click", 0, 0.0, 0.0), ("purchase", 0, 9.5, 0.0), ("rating", 1, 4.0, 0.2)]
    assert b'perch_clicks_total{model="ads",version="1",arm="stable"} 1\n' in render(store.summary())


def test_there_are_only_so_many_sources(place):
    with EventStore(place, WINDOW_S) as store:
        store.add_outcomes([Outcome(f"r{i}", 1, 1.0, source=f"source_{i}") for i in range(MOST_SOURCES + 3)])
    with EventStore(place, WINDOW_S) as store:
        store.add_outcomes([Outcome("r", 1, 1.0, source="one_more"), Outcome("r", 1, 1.0)])
        assert store.summary().pending == MOST_SOURCES
        assert store.summary().count("source") == 5


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


def test_the_counts_survive_the_process(place):
    with EventStore(place, WINDOW_S) as store:
        store.add_predictions([predicted("r1")])
        store.add_outcomes([Outcome("r1", 1, 1.0), Outcome("r2", 1, 1.0)], [Parked("malformed", "?")] * 3)
    with EventStore(place, WINDOW_S) as store:
        assert counts(store) == {"joined": 1, "pending": 1}
        assert store.summary().count("malformed") == 3


def test_the_latest_events_that_could_not_be_taken_are_kept_as_they_came(store):
    for i in range(MOST // 100 + 2):
        store.add_predictions([], [Parked("future", f"{i} {j}") for j in range(100)])
    store.add_outcomes([], [Parked("malformed", "x" * 10_000)])
    assert store.summary().parked_predictions == {"future": MOST + 200}
    kept = sql(store, "SELECT kind, reason, raw FROM parked ORDER BY number")
    assert len(kept) == MOST
    assert kept[0] == ("prediction", "future", "2 1")
    assert kept[-1] == ("outcome", "malformed", "x" * 4_000)


def test_a_failed_batch_leaves_nothing_behind(store):
    sql(store, "ALTER TABLE tallies RENAME TO elsewhere")
    with pytest.raises(StoreError, match="tallies"):
        store.add_outcomes([Outcome("r1", 1, 1.0)], [Parked("malformed", "?")])
    sql(store, "ALTER TABLE elsewhere RENAME TO tallies")
    assert counts(store) == {}
    assert sql(store, "SELECT * FROM parked") == []


def test_a_batch_of_any_size_is_stored_whole(store):
    ids = [f"r{i}" for i in range(2_500)]
    store.add_predictions([predicted(one) for one in ids])
    store.add_outcomes([Outcome(one, 1, 1.0) for one in [*ids, *ids]])
    assert counts(store) == {"joined": 2_500, "duplicate": 2_500}


@pytest.fixture
def past(place):
    """A store whose clock is set by the test: `past.now_s`."""
    with EventStore(place, WINDOW_S, lambda: store.now_s) as store:
        store.now_s = 0.0
        yield store


def at(store, now_s, predictions=(), outcomes=()):
    """Tell a store these ids at a time, the outcomes first."""
    store.now_s = now_s
    store.add_outcomes([Outcome(one, 1, now_s) for one in outcomes])
    store.add_predictions([predicted(one, time_s=now_s) for one in predictions])
    while store.tidy():
        pass


def rows(store):
    return [sql(store, f"SELECT count(*) FROM {table}")[0][0] for table in ("predictions", "outcomes")]


def test_an_outcome_that_no_prediction_claims_within_the_window_is_unknown_and_told_again_a_duplicate(past):
    at(past, 0, ["r1"], ["nobody's"])
    at(past, WINDOW_S, ["r2"])
    assert counts(past) == {"pending": 1}
    at(past, WINDOW_S + 61, ["r3"], ["nobody's"])
    assert counts(past) == {"unknown": 1, "duplicate": 1}
    at(past, WINDOW_S + 62, ["nobody's"])
    assert counts(past) == {"unknown": 1, "duplicate": 1}
    assert b'perch_outcomes_total{model="",version="",arm="",result="unknown",source="click"} 1\n' in render(
        past.summary()
    )


def test_what_is_two_windows_old_is_forgotten_and_stays_counted(past):
    at(past, 0, ["r1"], ["r1", "never"])
    at(past, 2 * WINDOW_S, ["r2"], ["r2"])
    assert rows(past) == [2, 3]
    at(past, 2 * WINDOW_S + 61, ["r3"])
    assert rows(past) == [2, 1]
    assert counts(past) == {"joined": 2, "unknown": 1}


def test_the_store_stops_growing_after_two_windows(past):
    kept = []
    for now_s in range(0, 1_200, 20):
        ids = [f"{now_s}-{i}" for i in range(50)]
        at(past, now_s, ids, [*ids, *(f"nobody's {one}" for one in ids)])
        kept.append(sum(rows(past)))
    assert kept[-1] <= 1.1 * max(kept[: len(kept) // 3])
    assert counts(past)["joined"] == 3_000
    assert sum(counts(past).values()) == 6_000


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
        EventStore(path, WINDOW_S)


def test_the_page_of_counters_is_readable(store):
    from prometheus_client.parser import text_string_to_metric_families

    store.add_predictions([predicted("r1")])
    store.add_outcomes([Outcome("r1", 1, 1.0), Outcome("r2", 0, 1.0)], [Parked("malformed", "?")] * 2)
    families = {f.name: f.samples for f in text_string_to_metric_families(render(store.summary()).decode())}
    assert {(s.labels["result"], s.value) for s in families["perch_outcomes"]} == {("joined", 1), ("malformed", 2)}
    assert [s.value for s in families["perch_clicks"]] == [1]
    assert [s.value for s in families["perch_outcomes_pending"]] == [1]
