"""Opens SQLite or PostgreSQL for the event store, and says what went wrong in one sentence.

Every transaction writes or may write, and there is one writer: in SQLite the file's lock is taken when it begins, in
PostgreSQL an advisory lock. So what a transaction has looked up is still so when it writes, even while an old collector
has not ended and a new one has begun.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import log
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from perch.errors import PlatformError, UsageError

_POSTGRESQL: Final = ("postgresql", "postgres", "postgresql+psycopg")
_LOCK: Final = 0x7065726368  # "perch"
_DISK_FULL: Final = "53100"  # SQLSTATE
_WAIT_S: Final = 10


class StoreError(PlatformError):
    """The event store failed; what was to be written is not."""

    def __init__(self, sentence: str, reason: str = "") -> None:
        super().__init__(sentence)
        self.reason = reason


class StoreFullError(StoreError):
    """There is no room for more."""


def open_engine(store: str | Path, password: str | None = None) -> Engine:
    """The engine of a store.

    Args:
        store: SQLite file, or URL of a PostgreSQL as `postgresql://USER@HOST/DATABASE`.
        password: For a URL without one; libpq's own sources, such as `PGPASSWORD`, count too.

    Raises:
        UsageError: the URL is none, or of another kind.
    """
    url = _url(store)
    if url.drivername == "sqlite":
        engine = create_engine(
            url, pool_size=1, max_overflow=0, hide_parameters=True, connect_args={"timeout": _WAIT_S}
        )
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if password is not None:
        url = url.set(password=password)
    engine = create_engine(
        url, pool_size=1, max_overflow=0, hide_parameters=True, connect_args={"connect_timeout": _WAIT_S}
    )
    event.listen(engine, "begin", _begin_postgresql)
    return engine


def _url(store: str | Path) -> URL:
    if "://" not in str(store):
        return URL.create("sqlite", database=str(store))
    try:
        url = make_url(str(store))
    except ArgumentError:
        raise UsageError("The event store's URL cannot be read; give it as postgresql://USER@HOST/DATABASE.") from None
    if url.drivername not in _POSTGRESQL:
        raise UsageError(f"Events cannot be kept in {url.drivername}; name a file for SQLite, or a postgresql:// URL.")
    return url.set(drivername="postgresql+psycopg")


def _prepare_sqlite(connection: Any, _: object) -> None:  # noqa: ANN401  a connection of the driver
    connection.isolation_level = None  # the driver begins no transactions; we do
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.create_function("ln", 1, log, deterministic=True)  # not every SQLite is built with its own
    connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_postgresql(connection: Connection) -> None:
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction that is committed at the end, and leaves nothing after an error.

    Raises:
        StoreFullError: there is no room.
        StoreError: the database refuses, or does not answer.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0].rstrip(".")
        if isinstance(error, DBAPIError) and _is_full(error):
            raise StoreFullError(f"The event store is full ({reason})", reason) from error
        raise StoreError(f"The event store failed ({reason})", reason) from error


def _is_full(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) == _DISK_FULL or "disk is full" in str(error.orig)


def scrub(engine: Engine) -> None:
    """Have what was deleted leave SQLite's log, too: in the file itself it was overwritten when it was deleted."""
    if engine.dialect.name == "sqlite":
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()
