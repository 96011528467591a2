"""Inserts that are the same to SQLite and PostgreSQL, in batches."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, CursorResult, Table, Text, bindparam, func, select, text
from sqlalchemy.dialects import postgresql, sqlite

from perch.adapters.events.schema import progress

BATCH: Final = 1_000
"""Rows, or ids, in one statement; databases bound how many parameters that one can have."""

Rows = Sequence[Mapping[str, Any]]

_T = TypeVar("_T")


def _insert(connection: Connection, table: Table) -> "sqlite.Insert | postgresql.Insert":
    """The databases' own form, which says what to do where a key is there; both have the same."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def batches(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """The items in parts that fit into one statement each."""
    for first in range(0, len(items), BATCH):
        yield items[first : first + BATCH]


def insert_new(connection: Connection, table: Table, rows: Rows) -> None:
    """Insert those rows whose key is not there; the first one of a key stays."""
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        names = tuple(rows[0])
        connection.execute(_from_arrays(table, names), {name: [row[name] for row in rows] for name in names})
    else:
        connection.execute(sqlite.insert(table).on_conflict_do_nothing(), rows)


@cache
def _from_arrays(table: Table, names: tuple[str, ...]) -> postgresql.Insert:
    """An insert of all rows in one statement, one array a column; row by row PostgreSQL takes several times as long."""
    arrays = [bindparam(name, type_=postgresql.ARRAY(table.c[name].type)) for name in names]
    rows = select(func.unnest(*arrays).table_valued(*names).render_derived())
    return postgresql.insert(table).from_select(names, rows).on_conflict_do_nothing()


def add_up(connection: Connection, table: Table, rows: Rows) -> None:
    """Insert rows, or add what is no key of them to the rows that have their keys. Each key comes once."""
    if not rows:
        return
    insert = _insert(connection, table)
    sums = [name for name in rows[0] if name not in table.primary_key.columns]
    more = {name: table.c[name] + insert.excluded[name] for name in sums}
    connection.execute(insert.on_conflict_do_update(index_elements=table.primary_key.columns, set_=more), rows)


def put(connection: Connection, table: Table, rows: Rows) -> None:
    """Insert rows, or put what is no key of them in the place of what there is. Each key comes once."""
    if not rows:
        return
    insert = _insert(connection, table)
    new = {name: insert.excluded[name] for name in rows[0] if name not in table.primary_key.columns}
    connection.execute(insert.on_conflict_do_update(index_elements=table.primary_key.columns, set_=new), rows)


class OfRequests:
    """A query for the rows of some requests: `{ids}` in it stands for what follows `request_id`."""

    def __init__(self, query: str) -> None:
        self._sqlite = text(query.format(ids="IN (SELECT value FROM json_each(:request_ids))"))
        ids = bindparam("request_ids", type_=postgresql.ARRAY(Text))
        self._postgresql = text(query.format(ids="= ANY(:request_ids)")).bindparams(ids)

    def rows(self, connection: Connection, request_ids: Sequence[str]) -> "CursorResult[Any]":
        """The rows."""
        if connection.dialect.name == "postgresql":
            return connection.execute(self._postgresql, {"request_ids": request_ids})
        return connection.execute(self._sqlite, {"request_ids": json.dumps(request_ids)})


def reached(connection: Connection, name: str) -> float | None:
    """How far something has come; `None`: it has not begun."""
    return connection.scalar(select(progress.c.value).where(progress.c.name == name))


def advance(connection: Connection, name: str, by: int) -> int:
    """Take so many numbers of a sequence that never gives one twice; returns the last one before them."""
    last = int(reached(connection, name) or 0)
    put(connection, progress, [{"name": name, "value": float(last + by)}])
    return last
