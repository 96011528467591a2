"""Locust in its own process against small servers: what is measured is what a user on schedule would have felt."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from perch import load
from perch.core.policy import Slo
from perch.errors import LoadError
from perch.load.plan import VARIABLE, Plan

LOADTESTS = Path(__file__).parents[2] / "loadtests"


class Server:
    """Answers `/rank` on a thread of its own; `answer(n)` gives status and delay of the n-th request."""

    def __init__(self, answer):
        self.answer, self.bodies, self.arrived_s, self.hosts = answer, [], [], set()

    async def handle(self, request):
        status, delay_s = self.answer(len(self.bodies))
        self.bodies.append((request.path, json.loads(await request.read())))
        self.arrived_s.append(time.perf_counter())
        self.hosts.add(request.headers["host"])
        await asyncio.sleep(delay_s)
        return web.json_response({}, status=status)


@contextmanager
def serving(answer=lambda n: (200, 0.0)):
    server, loop, up, over = Server(answer), asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def live():
        runner = web.ServerRunner(web.Server(server.handle), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        up.set()
        await over.wait()
        await runner.cleanup()

    def run_loop():
        loop.run_until_complete(live())
        loop.close()

    thread = threading.Thread(target=run_loop)
    thread.start()
    up.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()


@pytest.fixture
def payloads(tmp_path):
    path = tmp_path / "slates.jsonl"
    path.write_text("".join(json.dumps({"slate": n}) + "\n" for n in range(7)))
    return path


def run(server, payloads, *, rps=40, duration_s=3, users=8, slo=Slo(latency_p99_ms=500), host=None):  # noqa: B008  frozen
    plan = {"rps": rps, "duration_s": duration_s, "users": users, "slo": slo, "host": host}
    return load.run(server.url, payloads=payloads, out=payloads.parent / "load.json", **plan)


def test_a_healthy_server_passes_at_the_rate_that_was_wanted(payloads):
    with serving() as server:
        result = run(server, payloads)
    assert result.passed, result.sentence
    assert result.requests == len(server.bodies)
    assert abs(result.rps - 40) < 2
    assert abs(result.requests - 3 * 40) < 12
    assert {path for path, _ in server.bodies} == {"/rank"}
    assert server.hosts == {server.url.removeprefix("http://")}
    assert {body["slate"] for _, body in server.bodies} == set(range(7))
    gaps_s = [later - earlier for earlier, later in zip(server.arrived_s, server.arrived_s[1:], strict=False)]
    assert sorted(gaps_s)[len(gaps_s) // 2] == pytest.approx(1 / 40, abs=0.01)
    assert json.loads((payloads.parent / "load.json").read_text())["p99_ms"] == result.p99_ms


def test_requests_name_the_host_that_a_gateway_knows_the_service_by(payloads):
    with serving() as server:
        run(server, payloads, duration_s=1, host="ads.example.com")
    assert server.hosts == {"ads.example.com"}


def test_a_stall_counts_for_every_request_that_was_due_meanwhile(payloads):
    with serving(lambda n: (200, 1.5 if n == 20 else 0.0)) as server:
        result = run(server, payloads, users=1, rps=20, slo=Slo(latency_p99_ms=100))
    late = 1.5 * 20 / result.requests  # share of requests that were due during the stall
    assert not result.passed
    assert late > 0.3
    assert result.p95_ms > 500  # a user that forgot its schedule would report one slow request in fifty


def test_a_server_that_only_fails_does_not_pass(payloads):
    with serving(lambda n: (500, 0.0)) as server:
        result = run(server, payloads, duration_s=1)
    assert not result.passed
    assert "every request failed" in result.sentence


def test_a_server_that_is_not_there_does_not_pass(payloads):
    with serving() as server:
        pass
    result = run(server, payloads, duration_s=1)
    assert not result.passed
    assert "every request failed" in result.sentence


def test_locust_itself_ends_with_the_load_errors_code_on_a_breach(payloads):
    out = payloads.parent / "result.json"
    plan = Plan(str(payloads), rps=20, users=4, out=str(out))
    options = ["--headless", "--users", "4", "--spawn-rate", "4", "--run-time", "1s"]
    with serving(lambda n: (500 if n % 4 == 0 else 200, 0.0)) as server:
        ended = subprocess.run(
            [sys.executable, "-m", "locust", "-f", LOADTESTS / "locustfile.py", "--host", server.url, *options],
            env=plan.to_environment(),
            check=False,
            capture_output=True,
        )
    assert ended.returncode == LoadError.exit_code == 9
    assert "requests failed" in json.loads(out.read_text())["sentence"]


def test_the_ramp_starts_with_a_tenth_of_the_users(payloads):
    plan = Plan(str(payloads), rps=100, users=20)
    files = f"{LOADTESTS / 'locustfile.py'},{LOADTESTS / 'shapes' / 'ramp.py'}"
    with serving() as server:
        locust = subprocess.Popen(
            [sys.executable, "-m", "locust", "-f", files, "--host", server.url, "--headless"],
            env=plan.to_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + 20
            while not server.bodies and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(1)
            arrived = len(server.bodies)
        finally:
            locust.kill()
            locust.wait()
    assert 6 <= arrived <= 16


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "cannot be read"), ("", "are empty"), ('{"slate": 1}\n{"slate"\n', "Payload 2 .* is not JSON")],
)
def test_payloads_that_cannot_be_sent_are_refused_before_anything_starts(tmp_path, content, told):
    path = tmp_path / "slates.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(LoadError, match=told):
        load.run("http://127.0.0.1:1", rps=1, duration_s=1, users=1, slo=Slo(), payloads=path, out=tmp_path / "x.json")


def test_a_load_of_nothing_is_refused(payloads):
    with pytest.raises(LoadError, match="both must be positive"):
        load.run("http://x", rps=0, duration_s=1, users=1, slo=Slo(), payloads=payloads, out=payloads)


@pytest.mark.parametrize("plan", [None, "{", '{"rps": 1}', '{"speed": 9}'])
def test_locust_without_a_plan_is_told_how_to_give_one(monkeypatch, plan):
    monkeypatch.delenv(VARIABLE, raising=False)
    if plan is not None:
        monkeypatch.setitem(os.environ, VARIABLE, plan)
    with pytest.raises(LoadError, match="set PERCH_LOAD="):
        Plan.from_environment()


def test_a_locust_that_cannot_start_is_an_error_with_its_last_words(payloads, monkeypatch):
    monkeypatch.setattr("perch.load.runner._LOCUSTFILE", payloads.parent / "missing.py")
    with pytest.raises(LoadError, match="ended without a result"):
        load.run("http://x", rps=1, duration_s=1, users=1, slo=Slo(), payloads=payloads, out=payloads.parent / "o.json")
