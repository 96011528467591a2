"""Samples of a version's requests, from either kind of store, and what was found of them."""

import pytest

from event_stores import sql
from perch.adapters.events.store import EventStore
from perch.signals.events import Prediction
from perch.signals.inspection import SAMPLE, STRETCHES, ColumnDrift, FeatureMatch, Inspection

BEGIN_S = 1_000.0
HOUR = ("1", BEGIN_S, BEGIN_S + 3_600)


@pytest.fixture
def store(place):
    with EventStore(place, 6_000.0, lambda: BEGIN_S + 4_000) as store:
        yield store


def asked(i, time_s=BEGIN_S + 1, version="1", arm="stable", shown=0, **told):
    told = told or {"features": {"age": 1.0}, "served": {"age": 1.0}}
    return Prediction(f"r{i}", "ads", version, arm, time_s, 0.1, 8, shown, **told)


def test_a_sample_has_the_row_as_it_was_asked_and_the_features_as_they_were_served(store):
    given, first = {"age": 300.0, "device": None}, {"age": 700.0, "device": "tv"}
    told = {"features": given, "first": first, "asked": {**given, "age": 3.0}, "served": {"age": 300.0, "odds": None}}
    store.add_predictions([asked(1, shown=4, user="u1", **told)])
    (one,) = store.sample(*HOUR)
    assert (one.request_id, one.user, one.first) == ("r1", "u1", first)
    assert (one.asked, one.served) == ({"age": 3.0, "device": None}, {"age": 300.0, "odds": None})


def test_what_was_asked_is_what_was_given_where_nothing_else_is_told(store):
    store.add_predictions([asked(1)])
    (one,) = store.sample(*HOUR)
    assert one.asked == one.first == {"age": 1.0}


def test_events_of_an_earlier_perch_have_no_features_and_no_first_row_where_another_one_was_shown(store):
    store.add_predictions([asked(1, features={"age": 1.0}, shown=3)])
    (one,) = store.sample(*HOUR)
    assert (one.first, one.served, one.asked) == (None, None, {"age": 1.0})


def test_copies_and_other_versions_and_other_times_and_requests_without_inputs_are_not_in_it(store):
    store.add_predictions([asked(1, arm="shadow", first={"age": 1.0}), asked(2, version="2"), asked(3, user="u")])
    store.add_predictions([asked(4, BEGIN_S - 1), asked(5, BEGIN_S + 3_600)])
    assert store.sample(*HOUR) == []


def test_a_sample_is_spread_evenly_over_the_time_from_the_first_request_on(store):
    store.add_predictions([asked(f"{i:05d}", BEGIN_S + 3_500 + i / 50) for i in range(5_000)])
    sampled = store.sample(*HOUR)
    assert len(sampled) == SAMPLE
    numbers = [int(one.request_id[1:]) for one in sampled]
    assert numbers == sorted(numbers)
    assert {number // (5_000 // STRETCHES) for number in numbers} == set(range(STRETCHES))


def test_of_a_model_the_last_inspection_is_remembered(place):
    found = Inspection("ads", "1", 5.0, 300, [ColumnDrift("age", 0.4, 0.1)], [FeatureMatch("age", 300, 299)])
    with EventStore(place, 600.0) as store:
        store.keep_inspection(Inspection("ads", "1", 4.0, 200))
        store.keep_inspection(found)
        store.keep_inspection(Inspection("ads", "1", 4.5, 200))
        assert store.summary().inspections == (found,)
    with EventStore(place, 600.0) as store:
        assert store.summary().inspections == (found,)


def test_what_was_found_is_forgotten_with_the_events_of_its_time(place):
    now_s = BEGIN_S
    with EventStore(place, 600.0, lambda: now_s) as store:
        store.add_predictions([asked(1)])
        store.keep_inspection(Inspection("ads", "1", BEGIN_S, 200))
        store.tidy()
        assert len(store.summary().inspections) == 1
        assert store.summary().inputs_kept_s == BEGIN_S + 1
        now_s = BEGIN_S + 1_300
        while store.tidy():
            pass
        assert store.summary().inspections == ()
        assert store.summary().inputs_kept_s is None


def test_a_store_of_before_there_were_inspections_learns_of_them(place):
    with EventStore(place, 600.0) as store:
        sql(store, "ALTER TABLE inputs DROP COLUMN asked")
        sql(store, "ALTER TABLE inputs DROP COLUMN served")
        sql(store, "DROP TABLE inspections")
        sql(store, "UPDATE event_store SET schema_version = 3")
    with EventStore(place, 6_000.0, lambda: BEGIN_S) as store:
        store.add_predictions([asked(1)])
        assert len(store.sample(*HOUR)) == 1
        assert store.summary().inspections == ()
