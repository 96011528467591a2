"""An older event store is taken over, a newer one refused; nothing is half done."""

import sqlite3

import pytest

from event_stores import sql
from perch.adapters.events import schema
from perch.adapters.events.engine import StoreFullError
from perch.adapters.events.store import EventStore
from perch.errors import PlatformError, UsageError
from perch.signals.events import Outcome, Prediction
from perch.signals.labels import Comparison, Cursor

FIRST_SCHEMA = """
CREATE TABLE predictions (
    request_id TEXT NOT NULL, shadow INTEGER NOT NULL, model TEXT NOT NULL, version TEXT NOT NULL, arm TEXT NOT NULL,
    time_s REAL NOT NULL, score REAL NOT NULL, rows INTEGER NOT NULL, shown INTEGER NOT NULL,
    PRIMARY KEY (request_id, shadow)
) WITHOUT ROWID;
CREATE INDEX by_time ON predictions (time_s, shadow, arm, version);
CREATE TABLE outcomes (
    request_id TEXT PRIMARY KEY, label INTEGER NOT NULL, time_s REAL NOT NULL, value REAL NOT NULL,
    arrived_s REAL NOT NULL,
    result TEXT NOT NULL DEFAULT 'pending',
    model TEXT NOT NULL DEFAULT '', version TEXT NOT NULL DEFAULT '', arm TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX pending ON outcomes (request_id) WHERE result = 'pending';
CREATE INDEX arrived ON outcomes (arrived_s);
CREATE TABLE clicks (
    number INTEGER PRIMARY KEY AUTOINCREMENT, time_s REAL NOT NULL, version TEXT NOT NULL, arm TEXT NOT NULL
);
CREATE TABLE tallies (
    result TEXT NOT NULL, model TEXT NOT NULL, version TEXT NOT NULL, arm TEXT NOT NULL,
    outcomes INTEGER NOT NULL, clicks INTEGER NOT NULL,
    PRIMARY KEY (result, model, version, arm)
) WITHOUT ROWID;
INSERT INTO predictions VALUES
    ('r1', 0, 'ads', '1', 'stable', 5.0, 0.1, 8, 0), ('r1', 1, 'ads', '2', 'shadow', 5.0, 0.2, 8, 0),
    ('r2', 0, 'ads', '2', 'canary', 5.5, 0.1, 8, 0);
INSERT INTO outcomes VALUES
    ('r1', 1, 6.0, 0.5, 6.1, 'joined', 'ads', '1', 'stable'), ('r3', 1, 7.0, 0, 7.1, 'pending', '', '', '');
INSERT INTO clicks VALUES (40, 1.0, '1', 'stable'), (41, 5.0, '1', 'stable');
DELETE FROM clicks WHERE number = 40;
INSERT INTO tallies VALUES ('joined', 'ads', '1', 'stable', 7, 2), ('malformed', '', '', '', 3, 0);
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "events.sqlite"
    with sqlite3.connect(path) as db:
        db.executescript(FIRST_SCHEMA)
    db.close()
    return path


def test_a_store_of_the_first_schema_goes_on_with_all_it_knew(path):
    with EventStore(path, 10.0, lambda: 12.0) as store:
        store.add_predictions([Prediction("r3", "ads", "1", "stable", 6.5, 0.1, 8, 0)])
        store.add_outcomes([Outcome("r1", 1, 6.0), Outcome("r2", 1, 8.0)])
        summary = store.summary()
        assert {(t.result, t.source, t.arm): (t.outcomes, t.clicks) for t in summary.tallies} == {
            ("joined", "click", "stable"): (8, 3),
            ("joined", "click", "canary"): (1, 1),
            ("duplicate", "click", ""): (1, 0),
            ("malformed", "", ""): (3, 0),
        }
        arrived = store.labels_since(Comparison("1", "2", 0.0), Cursor(clicks=41))
        assert arrived.cursor.clicks == 43
        assert [(one.canary, one.stable) for one in arrived.outcomes.cohorts] == [(1, 0)]
        assert sql(store, "SELECT schema_version FROM event_store") == [(schema.VERSION,)]


def test_a_migration_that_fails_leaves_the_store_as_it_was(path, monkeypatch):
    monkeypatch.setattr(schema, "_COPY_FROM_1", (*schema._COPY_FROM_1, "INSERT INTO nowhere VALUES (1)"))
    with pytest.raises(PlatformError, match="no such table: nowhere"):
        EventStore(path, 10.0)
    monkeypatch.undo()
    with EventStore(path, 10.0) as store:
        assert store.summary().pending == 1


def test_a_store_of_a_newer_perch_is_refused_and_left_alone(place):
    with EventStore(place, 10.0) as store:
        sql(store, f"UPDATE event_store SET schema_version = {schema.VERSION + 1}")
        with pytest.raises(PlatformError, match=f"has the schema {schema.VERSION + 1}.* up to {schema.VERSION}"):
            EventStore(place, 10.0)
        assert sql(store, "SELECT schema_version FROM event_store") == [(schema.VERSION + 1,)]


def test_a_store_that_is_too_old_is_refused_with_what_to_do(path):
    with sqlite3.connect(path) as db:
        db.execute("ALTER TABLE predictions DROP COLUMN shown")
    db.close()
    with pytest.raises(PlatformError, match="move this one away"):
        EventStore(path, 10.0)


def test_opening_a_store_again_changes_nothing(place):
    with EventStore(place, 10.0) as store:
        store.add_outcomes([Outcome("r1", 1, 1.0)])
    with EventStore(place, 10.0) as store:
        assert store.summary().pending == 1
        assert sql(store, "SELECT schema_version FROM event_store") == [(schema.VERSION,)]


@pytest.mark.parametrize(
    ("store", "says"),
    [
        ("mysql://perch@db/events", "Events cannot be kept in mysql"),
        ("://perch@db/events", "cannot be read"),
        ("sqlite:///x", "name a file"),
    ],
)
def test_another_kind_of_store_is_refused_with_what_there_is(store, says):
    with pytest.raises(UsageError, match=says):
        EventStore(store, 10.0)


def test_a_database_that_does_not_answer_is_a_sentence_without_its_password(tmp_path):
    with pytest.raises(PlatformError, match="cannot be opened") as refused:
        EventStore(f"postgresql://perch@/events?host={tmp_path}", 10.0, password="a-secret")
    assert "a-secret" not in str(refused.value)


def test_a_full_disk_is_told_apart_and_what_was_written_stays(tmp_path):
    with EventStore(tmp_path / "store", 10.0) as store:
        store.add_outcomes([Outcome("r1", 1, 1.0)])
        connection = store.engine.raw_connection()
        connection.cursor().execute("PRAGMA max_page_count = 60")
        connection.close()

        def fill():
            for i in range(1_000):
                store.add_outcomes([Outcome(f"{i}-{j}", 1, 1.0) for j in range(100)])

        with pytest.raises(StoreFullError, match="disk is full"):
            fill()
        kept = store.summary().pending
        assert (kept - 1) % 100 == 0
        assert sql(store, "SELECT count(*) FROM outcomes") == [(kept,)]
        assert sql(store, "SELECT count(*) FROM outcomes WHERE request_id = 'r1'") == [(1,)]
