"""What is kept about a person is read back whole, and is gone when it is forgotten: from tables, log and file."""

import time
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from event_stores import database_with_roles, new_database, sql
from perch.adapters.events.parking import Parked
from perch.adapters.events.people import ATTRIBUTES_KEPT_S, Attribute
from perch.adapters.events.reading import PAGE, Span
from perch.adapters.events.schema import ATTRIBUTES_ROLE
from perch.adapters.events.store import EventStore
from perch.signals.events import Kept, Outcome, Prediction

USER = "user-of-whom-nothing-stays"


@pytest.fixture
def store(place):
    with EventStore(place, 100.0, lambda: 500.0) as store:
        yield store


def shown(request_id, user, time_s=10.0, arm="stable"):
    features = {"site": f"page of {user}", "price": 1.5, "ad": None}
    attributions = {"price": 0.25}
    return Prediction(request_id, "ads", "1", arm, time_s, 0.1, 8, 3, user, features, attributions, {"device": "phone"})


def all_of(store, since_s=0.0, until_s=1e9):
    found, span = [], Span(since_s, until_s)
    while page := store.kept(span):
        found += page
        last = page[-1].prediction
        span = Span(last.time_s, until_s, last.request_id)
    return found


def test_events_are_read_back_as_they_were_told_with_the_outcomes_that_joined(store):
    told = shown("r1", USER)
    store.add_predictions([told, shown("r1", USER, arm="shadow"), shown("r2", "another", 11.0)])
    click, purchase = Outcome("r1", 1, 12.0, 0.5), Outcome("r1", 1, 13.0, 20.0, "purchase", explicit=True, cost=0.1)
    store.add_outcomes([purchase, click, Outcome("r2", 1, 500.0)])
    assert all_of(store) == [Kept(told, [click, purchase]), Kept(shown("r2", "another", 11.0), [])]


def test_pages_hold_each_event_once_also_where_many_have_one_time(store):
    ids = [f"r{i:05}" for i in range(2 * PAGE + 10)]
    store.add_predictions([Prediction(one, "ads", "1", "stable", 10.0, 0.1, 1, 0) for one in ids])
    assert [one.prediction.request_id for one in all_of(store)] == ids
    assert [one.prediction.request_id for one in all_of(store, 10.0, 10.0)] == []


def fill(store):
    for i in range(300):
        users = (USER, f"user {i}")
        store.add_predictions([shown(f"{user} {i}", user, 10.0 + i) for user in users])
        store.add_outcomes([Outcome(f"{user} {i}", 1, 11.0 + i) for user in users])
    store.add_predictions([], [Parked("malformed", f'{{"user": "{USER}"}}'), Parked("malformed", "{}")])
    store.keep_attributes([Attribute(USER, "age", "71"), Attribute("user 1", "age", "30")])


def test_a_user_is_forgotten_in_every_table_and_what_was_counted_stays(store):
    fill(store)
    before = store.summary()
    gone = store.forget(USER)
    assert (gone.predictions, gone.inputs, gone.outcomes, gone.attributes, gone.parked) == (300, 300, 300, 1, 1)
    for table in ("predictions", "inputs", "outcomes", "attributes", "parked"):
        assert not [row for row in sql(store, f"SELECT * FROM {table}") if USER in str(row)], table
    assert len(all_of(store)) == 300
    assert store.summary() == before
    assert sql(store, "SELECT user_id FROM attributes") == [("user 1",)]
    assert store.forget(USER).predictions == 0


def test_forgetting_names_the_exports_that_the_user_is_in(store):
    fill(store)
    store.note_export("early.parquet", 0.0, 20.0)
    store.note_export("later.parquet", 5_000.0, 6_000.0)
    store.note_export("all.parquet", 0.0, 1_000.0)
    assert store.forget(USER).exports == ["early.parquet", "all.parquet"]
    assert store.forget("nobody").exports == []


def test_the_bytes_of_a_forgotten_user_are_gone_from_sqlites_files(tmp_path):
    place = tmp_path / "events.sqlite"

    def bytes_of_all_files():
        return b"".join(one.read_bytes() for one in Path(tmp_path).iterdir())

    with EventStore(place, 100.0, lambda: 500.0) as store:
        fill(store)
        assert USER.encode() in bytes_of_all_files()
        store.forget(USER)
        assert USER.encode() not in bytes_of_all_files()
    assert USER.encode() not in bytes_of_all_files()


def test_a_user_whose_name_is_a_pattern_takes_nobody_along(store):
    store.add_predictions([], [Parked("malformed", "someone")])
    assert store.forget("%").parked == 0
    assert store.forget("some_ne").parked == 0


def test_an_attribute_that_is_told_again_is_replaced(store):
    store.keep_attributes([Attribute("u", "age", "30"), Attribute("u", "age", "31"), Attribute("v", "age", "32")])
    store.keep_attributes([Attribute("u", "age", "33")])
    assert sql(store, "SELECT user_id, name, value FROM attributes ORDER BY 1") == [
        ("u", "age", "33"),
        ("v", "age", "32"),
    ]


def users_with_attributes(store, clock, at_s):
    """Whose attributes are left once all is tidied at a time."""
    clock.now_s = at_s
    while store.tidy():
        pass
    return {user for (user,) in sql(store, "SELECT user_id FROM attributes")}


def test_attributes_outlast_a_pause_and_go_a_season_after_the_last_prediction_or_word_of_their_user(place):
    clock = SimpleNamespace(now_s=500.0)
    with EventStore(place, 100.0, lambda: clock.now_s, retention_s=1_000.0) as store:
        nameless = Prediction("r3", "ads", "1", "stable", 9.0, 0.1, 1, 0)
        store.add_predictions([shown("r1", "gone", 10.0), nameless, shown("r4", "later", 400.0)])
        store.keep_attributes([Attribute(user, "age", "30") for user in ("gone", "later", "never came", "told again")])
        everybody = {"gone", "later", "never came", "told again"}
        assert users_with_attributes(store, clock, 1_100.0) == everybody
        assert users_with_attributes(store, clock, 1_500.0) == everybody
        clock.now_s = 2_000.0
        store.keep_attributes([Attribute("told again", "age", "31")])
        for at_s, left in ((500, everybody), (1_100, everybody - {"never came"}), (1_500, {"later", "told again"})):
            assert users_with_attributes(store, clock, at_s + ATTRIBUTES_KEPT_S) == left
        assert users_with_attributes(store, clock, 1_501.0 + ATTRIBUTES_KEPT_S) == {"told again"}
        assert users_with_attributes(store, clock, 2_001.0 + ATTRIBUTES_KEPT_S) == set()


def test_attributes_of_a_user_whose_predictions_are_kept_stay_however_long_that_is(place):
    clock = SimpleNamespace(now_s=500.0)
    retention_s = 2 * ATTRIBUTES_KEPT_S
    with EventStore(place, 100.0, lambda: clock.now_s, retention_s=retention_s) as store:
        store.add_predictions([shown("r1", "kept", 500.0)])
        store.keep_attributes([Attribute("kept", "age", "30"), Attribute("absent", "age", "30")])
        assert users_with_attributes(store, clock, 501.0 + ATTRIBUTES_KEPT_S) == {"kept"}
        assert users_with_attributes(store, clock, 501.0 + retention_s) == {"kept"}
        assert users_with_attributes(store, clock, 501.0 + retention_s + ATTRIBUTES_KEPT_S) == {"kept"}
        assert users_with_attributes(store, clock, 502.0 + retention_s + ATTRIBUTES_KEPT_S) == set()


def test_a_great_many_attributes_are_deleted_a_little_at_a_time(store):
    store.keep_attributes([Attribute(f"u{i}", "age", "30") for i in range(5_000)])
    store._clock = lambda: 501.0 + ATTRIBUTES_KEPT_S
    assert store.tidy()
    assert sql(store, "SELECT count(*) FROM attributes") == [(3_000,)]
    while store.tidy():
        pass
    assert sql(store, "SELECT count(*) FROM attributes") == [(0,)]


def before_attributes_had_a_time(store, *around):
    """Make it a store of the schema before, between statements."""
    changes = ["DROP INDEX attributes_by_time", "ALTER TABLE attributes DROP COLUMN seen_s"]
    for statement in (*around[:1], *changes, *around[1:], "UPDATE event_store SET schema_version = 3"):
        sql(store, statement)


def test_attributes_of_a_store_from_before_they_had_a_time_begin_theirs_when_it_is_opened(place):
    with EventStore(place, 100.0) as store:
        store.keep_attributes([Attribute("u", "age", "30")])
        before_attributes_had_a_time(store)
    clock = SimpleNamespace(now_s=0.0)
    with EventStore(place, 100.0, lambda: clock.now_s) as store:
        day_s = 86_400.0
        assert users_with_attributes(store, clock, time.time() + ATTRIBUTES_KEPT_S - day_s) == {"u"}
        assert users_with_attributes(store, clock, time.time() + ATTRIBUTES_KEPT_S + day_s) == set()


def test_a_superuser_goes_on_where_the_role_may_nothing_in_the_schema(postgresql_url):
    database_with_roles(postgresql_url, "somebody")  # the role is the server's, and so is there for all databases
    url = new_database(postgresql_url)
    with EventStore(url, 100.0) as store:
        store.keep_attributes([Attribute("u", "age", "30")])
        before_attributes_had_a_time(store)
    with EventStore(url, 100.0) as store:
        assert store.forget("u").attributes == 1


def test_in_postgresql_attributes_belong_to_a_role_of_their_own_where_there_is_one(postgresql_url):
    """The store's own user may take the role for a transaction, and reads nothing without it."""
    url = database_with_roles(postgresql_url, "keeper")
    clock = SimpleNamespace(now_s=500.0)
    with EventStore(url, 100.0, lambda: clock.now_s) as store:
        store.keep_attributes([Attribute("u", "age", "30")])
        with psycopg.connect(url) as direct, pytest.raises(psycopg.errors.InsufficientPrivilege):
            direct.execute("SELECT * FROM attributes")
        assert store.forget("u").attributes == 1
        store.keep_attributes([Attribute("u", "age", "30")])
        store.add_predictions([shown("r1", "u")])
        for at_s in (1_000.0, 1_001.0 + ATTRIBUTES_KEPT_S):
            clock.now_s = at_s
            while store.tidy():
                pass
        assert store.forget("u").attributes == 0
        store.keep_attributes([Attribute("u", "age", "30")])
        before_attributes_had_a_time(store, f"SET ROLE {ATTRIBUTES_ROLE}", "RESET ROLE")
    with EventStore(url, 100.0) as store:
        assert store.forget("u").attributes == 1
