"""How many events a second the collector takes on one core, through HTTP into SQLite and into PostgreSQL.

The collector is the real process, held to one core; whoever sends, and PostgreSQL's server, have the others. Events
come as serving and applications send them: predictions in lists of 500, then an outcome for each, three of ten clicked,
by four connections. The attribution window is two seconds, so that joining, summing up and forgetting are part of it.
Every event is acknowledged after its commit, and at the end the counts must be those that were sent. Run with
`make bench-collector`.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import httpx
import msgspec
import psutil

from perch.signals.events import Outcome, Prediction

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from event_stores import new_database, postgresql
from serving_process import free_port

BARS = {"SQLite": 5_000, "PostgreSQL": 10_000}

_TOKEN = "a-token"
_BATCH = 500
_CONNECTIONS = 4
_SECONDS, _ROUNDS = (4.0, 1) if os.environ.get("QUICK") else (10.0, 3)


@contextmanager
def collector(store: str, folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A collector on core 0; gives its URL and its process."""
    (folder / "token").write_text(_TOKEN)
    port = free_port()
    options = ["--port", str(port), "--store", store, "--attribution-window-s", "2"]
    tokens = ["--token-file", str(folder / "token"), "--feedback-token-file", str(folder / "token")]
    process = subprocess.Popen([sys.executable, "-m", "perch.collector", *options, *tokens])
    os.sched_setaffinity(process.pid, {0})
    try:
        _wait(f"http://127.0.0.1:{port}/healthz")
        yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def _wait(url: str) -> None:
    for _ in range(300):
        try:
            httpx.get(url, trust_env=False).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the collector did not start")


def batches(connection: int) -> Iterator[tuple[bytes, bytes]]:
    """Predictions and their outcomes, as they go over the wire."""
    number = 0
    while True:
        now_s = time.time()
        ids = [f"{os.urandom(8).hex()}-{connection}-{number + i}" for i in range(_BATCH)]
        slices = {"device": "phone", "new_user": "false"}
        told = [
            Prediction(one, "ads", "3", "stable", now_s, 0.001 + i % 97 / 200, 8, 0, f"user {i}", slices=slices)
            for i, one in enumerate(ids)
        ]
        outcomes = [Outcome(one, 1 if i % 10 < 3 else 0, now_s + 1) for i, one in enumerate(ids)]
        yield msgspec.json.encode(told), msgspec.json.encode(outcomes)
        number += _BATCH


async def send(url: str, connection: int, until_s: float) -> int:
    """Send until a time; returns how many events were acknowledged."""
    headers, sent = {"authorization": f"Bearer {_TOKEN}"}, 0
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30.0, trust_env=False) as client:
        for predictions, outcomes in batches(connection):
            for path, body in (("/v1/predictions", predictions), ("/v1/outcomes", outcomes)):
                answer = (await client.post(path, content=body)).raise_for_status().json()
                sent += answer["accepted"]
            if time.time() > until_s:
                return sent
    raise AssertionError


async def load(url: str) -> int:
    until_s = time.time() + _SECONDS
    return sum(await asyncio.gather(*(send(url, one, until_s) for one in range(_CONNECTIONS))))


def database_s() -> float:
    """CPU seconds of PostgreSQL's processes so far."""
    found = [one for one in psutil.Process().children(recursive=True) if one.name() == "postgres"]
    return sum(one.cpu_times().user + one.cpu_times().system for one in found)


def measure(store: str, folder: Path) -> tuple[float, float, float]:
    """Events a second, per CPU second of the collector, and per CPU second of the database's server."""
    with collector(store, folder) as (url, process):
        before, begin_s, database_before_s = process.cpu_times(), time.perf_counter(), database_s()
        sent = asyncio.run(load(url))
        took_s, after, in_database_s = (
            time.perf_counter() - begin_s,
            process.cpu_times(),
            database_s() - database_before_s,
        )
        summary = httpx.get(f"{url}/v1/summary", trust_env=False, timeout=30.0).json()
        joined = sum(one["outcomes"] for one in summary["tallies"] if one["result"] == "joined")
        assert joined * 2 == sent, f"{sent} events were acknowledged, {joined} outcomes joined"
    own_s = after.user + after.system - before.user - before.system
    return sent / took_s, sent / own_s, sent / max(in_database_s, 1e-9)


def main() -> None:
    """Print both stores beside their bars."""
    os.sched_setaffinity(0, set(range(os.cpu_count() or 1)) - {0} or {0})
    print(f"{'':12}{'events/s':>22}{'per CPU second':>18}{'of the database':>18}{'bar':>10}")
    with postgresql() as server, TemporaryDirectory(prefix="perch-bench-") as place:
        for name, bar in BARS.items():
            rounds = []
            for number in range(_ROUNDS):
                store = str(Path(place) / f"{number}.sqlite") if name == "SQLite" else new_database(server)
                rounds.append(measure(store, Path(place)))
            per_second, per_cpu, per_database = zip(*rounds, strict=True)
            told = "/".join(f"{one:,.0f}" for one in sorted(per_second))
            beside = f"{median(per_database):,.0f}" if name == "PostgreSQL" else "in it"
            print(f"{name:12}{told:>22}{median(per_cpu):>18,.0f}{beside:>18}{bar:>10,}")


if __name__ == "__main__":
    main()
