"""The tables of the event store, the same in SQLite and PostgreSQL, and the steps from one schema to the next.

SQLite clusters a table without row numbers by its key, which halves what a row takes. That is why what is large, and
kept of few requests, stands in a table of its own (`inputs`).
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    insert,
    inspect,
    text,
)

from perch.errors import PlatformError

VERSION: Final = 4
"""Of the schema that this Perch writes."""

ATTRIBUTES_ROLE: Final = "perch_attributes"
"""Role that owns the sensitive attributes where a PostgreSQL has it, see docs/how-to/keep-events-in-postgresql.md."""

metadata = MetaData()


def _key(name: str, kind: Any = Text) -> "Column[Any]":  # noqa: ANN401  a type of SQLAlchemy's, or its class
    return Column(name, kind, primary_key=True, autoincrement=False)


def _text(name: str) -> "Column[Any]":
    return Column(name, Text, nullable=False, server_default="")


def _count(name: str) -> "Column[Any]":
    return Column(name, BigInteger, nullable=False, server_default="0")


def _real(name: str) -> "Column[Any]":
    return Column(name, Double, nullable=False, server_default="0")


predictions = Table(
    "predictions",
    metadata,
    _key("request_id"),
    _key("shadow", Integer),
    _text("model"),
    _text("version"),
    _text("arm"),
    _real("time_s"),
    _real("score"),
    _count("rows"),
    _count("shown"),
    Column("user_id", Text),
    Column("slices", Text),  # JSON
    Index("by_time", "time_s", "shadow", "arm", "version"),
    Index(
        "by_user",
        "user_id",
        sqlite_where=text("user_id IS NOT NULL"),
        postgresql_where=text("user_id IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)

inputs = Table(
    "inputs",
    metadata,
    _key("request_id"),
    _key("shadow", Integer),
    _real("time_s"),
    Column("features", Text),  # JSON
    Column("first_row", Text),  # JSON
    Column("attributions", Text),  # JSON
    Column("asked", Text),  # JSON
    Column("served", Text),  # JSON
    Index("inputs_by_time", "time_s"),
    sqlite_with_rowid=False,
)

outcomes = Table(
    "outcomes",
    metadata,
    _key("request_id"),
    _key("source"),
    _count("explicit"),
    _count("label"),
    _real("time_s"),
    _real("value"),
    _real("cost"),
    _real("arrived_s"),
    Column("result", Text, nullable=False, server_default="pending"),
    _real("answered_s"),
    _text("model"),
    _text("version"),
    _text("arm"),
    Index(
        "pending", "request_id", sqlite_where=text("result = 'pending'"), postgresql_where=text("result = 'pending'")
    ),
    Index("arrived", "arrived_s"),
    sqlite_with_rowid=False,
)

clicks = Table(
    "clicks",
    metadata,
    _key("number", BigInteger),
    _real("time_s"),
    _text("version"),
    _text("arm"),
    Index("clicks_by_time", "time_s"),
)

tallies = Table(
    "tallies",
    metadata,
    *map(_key, ("result", "source", "model", "version", "arm")),
    _count("outcomes"),
    _count("clicks"),
    sqlite_with_rowid=False,
)

scored = Table(
    "scored",
    metadata,
    *map(_key, ("kind", "model", "version", "arm", "slice", "part")),
    _key("bin", Integer),
    _count("requests"),
    *map(_real, ("clicks", "expected", "loss", "loss_squared")),
    sqlite_with_rowid=False,
)

earned = Table(
    "earned",
    metadata,
    _key("begin_s", Double),
    _key("version"),
    _key("arm"),
    *map(_count, ("requests", "clicks", "sales")),
    *map(_real, ("revenue", "revenue_squared")),
    sqlite_with_rowid=False,
)

parked = Table(
    "parked", metadata, _key("number", BigInteger), _real("arrived_s"), _text("kind"), _text("reason"), _text("raw")
)

parked_counts = Table(
    "parked_counts", metadata, _key("kind"), _key("reason"), _count("events"), sqlite_with_rowid=False
)

judgements = Table(
    "judgements",
    metadata,
    _key("stable"),
    _key("canary"),
    _key("until_s", Double),
    _real("from_s"),
    Column("p_value", Double, nullable=False),
    _text("finding"),
    sqlite_with_rowid=False,
)

inspections = Table(
    "inspections",
    metadata,
    _key("model"),
    _real("made_s"),
    _text("told"),  # JSON
    sqlite_with_rowid=False,
)

progress = Table("progress", metadata, _key("name"), _real("value"), sqlite_with_rowid=False)

exports = Table("exports", metadata, _key("name"), _real("since_s"), _real("until_s"), _real("made_s"))

attributes = Table(
    "attributes",
    metadata,
    _key("user_id"),
    _key("name"),
    _text("value"),
    _real("seen_s"),
    Index("attributes_by_time", "seen_s"),
    sqlite_with_rowid=False,
)

event_store = Table("event_store", metadata, _key("schema_version", Integer))


def bring_up_to_date(connection: Connection) -> None:
    """Make the tables, or migrate those of an older schema. All of it is one transaction, which is the caller's.

    Raises:
        PlatformError: the schema is newer than this Perch, or older than the oldest that it can migrate.
    """
    found = _version(connection)
    if found > VERSION:
        raise PlatformError(
            f"The event store has the schema {found}, and this Perch knows schemas up to {VERSION}. Run the Perch that "
            "wrote it, or a later one; nothing was changed."
        )
    for version in range(max(found, 1), VERSION):
        if found:
            _STEPS[version](connection)
    metadata.create_all(connection)
    if not found:
        _give_attributes_away(connection)
    _let_attributes_be_compared(connection)
    if found < VERSION:
        connection.execute(event_store.delete())
        connection.execute(insert(event_store), {"schema_version": VERSION})


def _version(connection: Connection) -> int:
    """Of the schema that is there; 0: none."""
    look = inspect(connection)
    if look.has_table("event_store"):
        return int(connection.scalar(event_store.select()) or 0)
    if not look.has_table("predictions"):
        return 0
    if "shown" not in {column["name"] for column in look.get_columns("predictions")}:
        raise PlatformError(
            "The event store is older than any whose events this Perch can take over; name another file, or move this "
            "one away."
        )
    return 1


def _from_1(connection: Connection) -> None:
    """SQLite only: one outcome a request, without source, and clicks numbered by SQLite itself."""
    for table in ("predictions", "outcomes", "clicks", "tallies"):
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {table}_1")
    for index in ("by_time", "pending", "arrived"):
        connection.exec_driver_sql(f"DROP INDEX IF EXISTS {index}")
    metadata.create_all(connection)
    for statement in _COPY_FROM_1:
        connection.exec_driver_sql(statement)
    for table in ("predictions", "outcomes", "clicks", "tallies"):
        connection.exec_driver_sql(f"DROP TABLE {table}_1")


_PREDICTION_1 = "request_id, shadow, model, version, arm, time_s, score, rows, shown"
_COPY_FROM_1 = (
    f"INSERT INTO predictions ({_PREDICTION_1}) SELECT {_PREDICTION_1} FROM predictions_1",  # noqa: S608  our names
    """
    INSERT INTO outcomes
        (request_id, source, label, time_s, value, arrived_s, result, answered_s, model, version, arm)
    SELECT o.request_id, 'click', o.label, o.time_s, o.value, o.arrived_s, o.result, coalesce(p.time_s, 0),
        o.model, o.version, o.arm
    FROM outcomes_1 AS o LEFT JOIN predictions_1 AS p ON p.request_id = o.request_id AND p.shadow = 0
    """,
    "INSERT INTO clicks SELECT number, time_s, version, arm FROM clicks_1",
    """
    INSERT INTO tallies
    SELECT result, CASE result WHEN 'malformed' THEN '' ELSE 'click' END, model, version, arm, outcomes, clicks
    FROM tallies_1
    """,
    "INSERT INTO progress SELECT 'clicks', seq FROM sqlite_sequence WHERE name = 'clicks_1'",
)


def _from_2(connection: Connection) -> None:
    """Without first rows."""
    if "first_row" not in {column["name"] for column in inspect(connection).get_columns("inputs")}:
        connection.exec_driver_sql("ALTER TABLE inputs ADD COLUMN first_row TEXT")


def _from_3(connection: Connection) -> None:
    """Without rows as they were asked, features as they were served, and times of attributes, which begin now."""
    there = {column["name"] for column in inspect(connection).get_columns("inputs")}
    for name in ("asked", "served"):
        if name not in there:
            connection.exec_driver_sql(f"ALTER TABLE inputs ADD COLUMN {name} TEXT")
    if "seen_s" not in {column["name"] for column in inspect(connection).get_columns("attributes")}:
        _date_attributes(connection)


def _date_attributes(connection: Connection) -> None:
    take_attributes_role(connection)
    connection.exec_driver_sql("ALTER TABLE attributes ADD COLUMN seen_s DOUBLE PRECISION NOT NULL DEFAULT 0")
    connection.execute(attributes.update(), {"seen_s": time.time()})
    for index in attributes.indexes:
        index.create(connection)
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL ROLE NONE")


_STEPS: Mapping[int, Callable[[Connection], None]] = {1: _from_1, 2: _from_2, 3: _from_3}
"""From each schema to the next one."""


def _give_attributes_away(connection: Connection) -> None:
    """In PostgreSQL the sensitive attributes belong to a role of their own, where there is one that we may take."""
    if connection.dialect.name == "postgresql" and connection.scalar(_MAY_TAKE, {"role": ATTRIBUTES_ROLE}):
        connection.exec_driver_sql(f"ALTER TABLE attributes OWNER TO {ATTRIBUTES_ROLE}")


def _let_attributes_be_compared(connection: Connection) -> None:
    """The role that the sensitive attributes belong to sums up by them what was served, and what became of that."""
    if connection.dialect.name == "postgresql" and connection.scalar(_OWNS, {"role": ATTRIBUTES_ROLE}):
        connection.exec_driver_sql(f"GRANT SELECT ON predictions, outcomes TO {ATTRIBUTES_ROLE}")


def take_attributes_role(connection: Connection) -> None:
    """For the rest of the transaction be the role that the sensitive attributes belong to, where they do.

    A superuser may all that the role may, and in a schema in which nobody gave the role anything, more.
    """
    if connection.dialect.name == "postgresql" and connection.scalar(_NEEDS, {"role": ATTRIBUTES_ROLE}):
        connection.exec_driver_sql(f"SET LOCAL ROLE {ATTRIBUTES_ROLE}")


_MAY_TAKE = text("SELECT count(*) FROM pg_roles WHERE rolname = :role AND pg_has_role(current_user, oid, 'MEMBER')")
_OWNS = text("SELECT count(*) FROM pg_tables WHERE tablename = 'attributes' AND tableowner = :role")
_NEEDS = text("""
SELECT count(*) FROM pg_tables
WHERE tablename = 'attributes' AND tableowner = :role AND current_setting('is_superuser') = 'off'
""")
