"""A sensitive attribute is told to one endpoint and asked of by another one, in sums; it stands nowhere else."""

import asyncio
import logging
import sqlite3
import threading

import httpx
import msgspec
import pytest

from event_stores import sql
from perch.adapters.events.engine import StoreError
from perch.adapters.events.store import EventStore
from perch.collector import app as app_module
from perch.collector.app import Collector
from perch.serving.app import Application
from perch.serving.context import Context
from perch.serving.faults import FaultSwitch
from perch.serving.meters import Meters
from perch.serving.predictor import Predictor
from perch.serving.question import Identity
from perch.serving.scoring import Scores
from perch.signals import names
from perch.signals.events import Outcome, Prediction
from perch.signals.fairness import LEAST_USERS
from perch.workload.schema import Schema, Slice

SECRET = "of-this-nobody-reads"
NOW_S = 1_000_000.0
USERS = 4 * LEAST_USERS
SCHEMA = Schema(("price",), ("user_id",), ("user_id",), slices=(Slice("group", sensitive=True), Slice("user_id")))


@pytest.fixture
def clock():
    return {"now_s": NOW_S}


@pytest.fixture
def collector(tmp_path, clock, caplog):
    """Asks a collector over a store in which half of the users have the attribute; all that it logs is caught."""
    caplog.set_level(logging.DEBUG)
    with EventStore(tmp_path / "store", 10.0, lambda: clock["now_s"], retention_s=1e6) as store:
        app = Collector(
            store, "p", "o", control_token="c", attributes_token="a", judge_token="j", clock=lambda: clock["now_s"]
        )

        def ask(method, path, token="", **request):
            async def send():
                async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://collector") as client:
                    headers = {"authorization": f"Bearer {token}"}
                    return await client.request(method, path, headers=headers, **request)

            return asyncio.run(send())

        ask.store, ask.app, ask.look = store, app, app._gap_watch.look
        told = [{"user": f"u{i}", "name": "faith", "value": SECRET if i % 2 else "other"} for i in range(USERS)]
        assert ask("POST", "/v1/attributes", "a", json=told).json() == {"accepted": USERS}
        serve(store, "first", NOW_S - 100)
        yield ask
        app._thread.shutdown()


def serve(store, name, time_s):
    requests = [
        Prediction(f"{name} {i}", "ads", "3", "stable", time_s, 0.5 if i % 2 else 0.1, 8, 0, user=f"u{i}")
        for i in range(USERS)
    ]
    store.add_predictions(requests)
    store.add_outcomes([Outcome(one.request_id, 1, time_s + 1) for i, one in enumerate(requests) if i % 4 < 2])
    while store.tidy():
        pass


def gauges(page):
    return {line.split()[0]: float(line.split()[1]) for line in page.splitlines() if line.startswith("perch_fairness")}


OF = '{version="3",arm="stable",measure="calibration"}'


def test_groups_are_told_to_who_has_the_control_token_and_to_nobody_else(collector):
    asked = "/v1/fairness?since_s=0"
    told = collector("GET", asked, "c").json()
    assert {one["value"] for one in told["groups"]} == {SECRET, "other"}
    for token in ("", "p", "o", "a", "j"):
        assert collector("GET", asked, token).status_code == 401
    refused = collector("GET", "/v1/fairness?since_s=soon", "c")
    assert (refused.status_code, "It takes since_s" in refused.text) == (400, True)


def test_the_page_tells_the_largest_gap_and_neither_group_nor_attribute(collector):
    collector.look()
    found = gauges(collector("GET", "/metrics").text)
    assert found[f"perch_fairness_gap{OF}"] == pytest.approx(0.1 / 0.3 - 1, abs=1.0)
    assert 0.0 < found[f"perch_fairness_gap_proven{OF}"] <= abs(found[f"perch_fairness_gap{OF}"])
    assert {one.partition("{")[0] for one in found} == {names.FAIRNESS_GAP, names.FAIRNESS_GAP_PROVEN}


def test_the_page_is_not_what_has_gaps_looked_at(collector, monkeypatch):
    looks = []
    monkeypatch.setattr(collector.store, "fairness_since", looks.append)
    for _ in range(5):
        collector("GET", "/metrics")
    assert looks == []


def test_a_running_collector_looks_at_gaps_by_itself_of_the_last_day(collector, clock, monkeypatch):
    looks, looked, whole = [], threading.Semaphore(0), collector.store.fairness_since

    def look(since_s):
        looks.append(since_s)
        looked.release()
        return whole(since_s)

    monkeypatch.setattr(app_module, "LOOK_INTERVAL_S", 0.01)
    monkeypatch.setattr(collector.store, "fairness_since", look)

    async def live():
        told = asyncio.Queue()
        living = asyncio.create_task(collector.app({"type": "lifespan"}, told.get, lambda _: asyncio.sleep(0)))
        await told.put({"type": "lifespan.startup"})
        assert all([await asyncio.to_thread(looked.acquire, timeout=30) for _ in range(3)])
        await told.put({"type": "lifespan.shutdown"})
        await living

    asyncio.run(live())
    assert set(looks) == {NOW_S - 86_400.0}
    assert collector.app._gap_watch.gaps


def test_the_page_is_told_without_gaps_while_they_cannot_be_asked_for_and_the_log_is_told_once(
    collector, monkeypatch, caplog
):
    def fail(_):
        raise StoreError("The event store failed (too long)")

    collector.look()
    with monkeypatch.context() as broken:
        broken.setattr(collector.store, "fairness_since", fail)
        for _ in range(3):
            collector.look()
            page = collector("GET", "/metrics")
    assert page.status_code == 200
    assert names.QUALITY_REQUESTS in page.text
    assert gauges(page.text) == {}
    assert len([one for one in caplog.records if "gaps between groups" in one.getMessage()]) == 1
    collector.look()
    assert gauges(collector("GET", "/metrics").text)


def test_without_attributes_the_page_has_no_gap(tmp_path):
    with EventStore(tmp_path / "none", 10.0, lambda: NOW_S, retention_s=1e6) as store:
        serve(store, "first", NOW_S - 100)
        app = Collector(store, "p", "o", clock=lambda: NOW_S)
        app._gap_watch.look()

        async def page():
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://collector") as client:
                return (await client.get("/metrics")).text

        assert gauges(asyncio.run(page())) == {}
        app._thread.shutdown()


def test_no_other_answer_and_no_log_line_of_the_collector_holds_an_attribute(collector, caplog):
    broken = [
        collector("POST", "/v1/attributes", "a", content=f'[{{"user": "u", "name": "faith", "value": "{SECRET}"'),
        collector("POST", "/v1/attributes", "a", json=[{"user": 1, "name": "faith", "value": SECRET}]),
        collector("POST", "/v1/attributes", "a", json=[{"user": "u\0", "name": "faith", "value": SECRET}]),
        collector("POST", "/v1/attributes", "wrong", json=[{"user": "u", "name": "faith", "value": SECRET}]),
    ]
    assert [one.status_code for one in broken] == [400, 400, 400, 401]
    sql(collector.store, "CREATE TRIGGER broken BEFORE UPDATE ON attributes BEGIN SELECT RAISE(ABORT, 'broken'); END")
    failed = collector("POST", "/v1/attributes", "a", json=[{"user": "u1", "name": "faith", "value": SECRET}])
    assert failed.status_code == 503
    answers = [
        collector("GET", "/metrics"),
        collector("GET", "/v1/summary"),
        collector("GET", "/v1/earnings?since_s=0", "c"),
        collector("GET", f"/v1/events?since_s=0&until_s={NOW_S}", "c"),
        collector("GET", "/v1/matured?version=3&since_s=0", "p"),
        collector("GET", "/v1/labels?stable=3&canary=4&since_s=0&judged=true", "p"),
        collector("GET", "/v1/window", "j"),
        collector("GET", f"/v1/sample?version=3&from_s=0&until_s={NOW_S}", "j"),
    ]
    assert [one.status_code for one in answers] == [200] * len(answers)
    said = "".join(one.text for one in (*answers, *broken, failed)) + caplog.text
    assert SECRET not in said
    assert "faith" not in said
    assert caplog.text


def test_the_attribute_stands_in_its_own_table_only(collector):
    with sqlite3.connect(collector.store.engine.url.database) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        holding = {one for one in tables if SECRET in str(connection.execute(f"SELECT * FROM {one}").fetchall())}
    assert holding == {"attributes"}


def test_serving_takes_no_attribute_and_repeats_none(caplog):
    caplog.set_level(logging.DEBUG)
    identity, events = Identity("ads", "3"), []
    meters = Meters(identity, names.grid(25), SCHEMA)
    switch = FaultSwitch(lambda columns: Scores([0.5] * len(columns["price"]), {}, {}), SCHEMA)
    context = Context(SCHEMA, user_column="user_id", features_share=1.0)
    predictor = Predictor(identity, switch, meters, lambda event, _: events.append(event), context)
    app = Application(identity, SCHEMA, predictor, meters, switch, fault_token="t", rest=None)

    async def ask():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://perch") as client:
            row = {"price": 1.0, "user_id": "u1"}
            refused = [
                await client.post("/rank", json={"context": {"group": SECRET}, "candidates": [row]}),
                await client.post("/rank", json={"context": {}, "candidates": [row | {"group": SECRET}]}),
                await client.post("/v1/models/ads:predict", json={"instances": [row | {"group": SECRET}]}),
                await client.post("/rank", json={"context": {}, "candidates": [row | {"price": SECRET}]}),
            ]
            taken = await client.post("/rank", json={"context": {}, "candidates": [row]})
            return refused, taken, await client.get("/metrics")

    refused, taken, page = asyncio.run(ask())
    assert [one.status_code for one in refused] == [400] * 4
    assert taken.status_code == 200
    told = msgspec.json.encode(events).decode()
    assert SECRET not in "".join(one.text for one in (*refused, taken, page)) + caplog.text + told
    (event,) = events
    assert event.slices == {"user_id": "u1"}
