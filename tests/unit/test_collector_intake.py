"""Which events the collector takes, and what becomes of the others."""

import asyncio

import httpx
import msgspec
import pytest

from event_stores import sql
from perch.adapters.events.store import EventStore
from perch.collector.app import Collector
from perch.collector.intake import Intake
from perch.collector.limit import BURST_S, Limit, TooManyError
from perch.signals.events import Outcome, Prediction

NOW_S = 1_800_000_000.0
YEAR_S = 365 * 86_400


def prediction(**changes):
    told = {"request_id": "r1", "model": "ads", "version": "1", "arm": "stable", "time_s": NOW_S, "score": 0.1}
    return {**told, "rows": 8, "shown": 0, **changes}


def outcome(**changes):
    return {"request_id": "r1", "label": 1, "time_s": NOW_S, **changes}


def read(kind, *items):
    return Intake(kind, 28_800.0).read(msgspec.json.encode(items), NOW_S)


@pytest.mark.parametrize(
    ("item", "reason", "says"),
    [
        (outcome(label=2), "malformed", "label"),
        (outcome(label="1"), "malformed", "label"),
        (outcome(request_id=7), "malformed", "request_id"),
        (outcome(request_id="r" * 129), "malformed", "request_id"),
        (outcome(request_id="r\0"), "malformed", "U+0000"),
        (outcome(value=1e300), "malformed", "value"),
        (outcome(source="Click!"), "malformed", "source"),
        ("click", "malformed", "object"),
        ({}, "malformed", "request_id"),
        (outcome(format=2), "format", "knows 1"),
        ({"format": 2, "something": "else"}, "format", ""),
        (outcome(time_s=NOW_S + 301), "future", "clock"),
        (outcome(time_s=NOW_S * 1000), "malformed", "time_s"),
        (outcome(time_s=NOW_S - 10 * YEAR_S), "ancient", "seconds since the epoch"),
        (outcome(time_s=1.0), "ancient", "before all that is kept"),
    ],
)
def test_an_outcome_that_cannot_be_taken_is_set_aside_with_the_reason_and_the_others_are_taken(item, reason, says):
    taken = read(Outcome, outcome(request_id="before"), item, outcome(request_id="after"))
    assert [one.request_id for one in taken.events] == ["before", "after"]
    assert [one.reason for one in taken.parked] == [reason]
    assert msgspec.json.decode(taken.parked[0].raw) == item
    assert taken.complaints[0].startswith("Outcome 1: ")
    assert says in taken.complaints[0]


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (prediction(score=1.5), "malformed"),
        (prediction(score=None), "malformed"),
        (prediction(rows=2**31), "malformed"),
        (prediction(model=""), "malformed"),
        (prediction(features=[1]), "malformed"),
        (prediction(features={"a": {"b": 1}}), "malformed"),
        (prediction(features={"a": "b\0"}), "malformed"),
        (prediction(time_s=NOW_S + 1_000), "future"),
        (prediction(time_s=NOW_S - YEAR_S), "ancient"),
        (prediction(format=2), "format"),
    ],
)
def test_a_prediction_that_cannot_be_taken_is_set_aside_with_the_reason(item, reason):
    taken = read(Prediction, item, prediction())
    assert [one.reason for one in taken.parked] == [reason]
    assert len(taken.events) == 1


def test_clocks_that_differ_a_little_and_events_of_yesterday_are_taken():
    assert len(read(Outcome, outcome(time_s=NOW_S + 299), outcome(time_s=NOW_S - 86_000)).events) == 2


def test_an_event_of_an_older_perch_and_one_of_a_newer_are_taken():
    taken = read(Prediction, prediction(), prediction(what_comes_later={"a": [1]}))
    assert taken.events[0].user is None
    assert len(taken.events) == 2


def test_an_event_without_what_is_new_looks_as_it_did():
    told = Prediction("r1", "ads", "1", "stable", NOW_S, 0.1, 8, 0)
    assert msgspec.json.decode(msgspec.json.encode(told)) == prediction()
    assert msgspec.json.decode(msgspec.json.encode(Outcome("r1", 1, NOW_S))) == outcome()


def test_what_is_new_goes_over_the_wire_whole():
    told = prediction(user="u", features={"age": 1.5, "site": "a", "ad": None}, slices={"device": "phone"})
    assert msgspec.json.decode(msgspec.json.encode(read(Prediction, told).events[0])) == told


# --- a flood --------------------------------------------------------------------------------------------------------


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


def test_a_client_may_send_a_burst_and_then_so_much_a_second():
    clock = Clock()
    limit = Limit(100.0, clock)
    limit.check("a")
    limit.charge("a", int(100 * BURST_S) + 200)
    with pytest.raises(TooManyError) as refused:
        limit.check("a")
    assert refused.value.retry_after_s == 3
    limit.check("b")
    clock.now_s = 3.0
    limit.check("a")


def test_no_number_of_clients_fills_the_memory():
    clock = Clock()
    limit = Limit(100.0, clock)
    for number in range(30_000):
        clock.now_s += 1.0
        limit.charge(number, 10)
    assert len(limit._buckets) <= 10_000


def post(app, path, items, token):
    async def ask():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://collector") as client:
            return await client.post(path, json=items, headers={"authorization": f"Bearer {token}"})

    return asyncio.run(ask())


@pytest.fixture
def store(tmp_path):
    with EventStore(tmp_path / "store", 14_400.0, lambda: NOW_S) as store:
        yield store


def test_a_flood_is_429_with_when_to_come_back_and_takes_nothing_from_other_routes(store):
    app = Collector(store, "p", "o", limit=Limit(10.0), clock=lambda: NOW_S)
    assert post(app, "/v1/outcomes", [outcome()], "o").status_code == 200
    assert post(app, "/v1/outcomes", [outcome(request_id=f"r{i}") for i in range(20)], "o").status_code == 200
    refused = post(app, "/v1/outcomes", [outcome()], "o")
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 1
    assert "send them again in" in refused.json()["error"]
    assert post(app, "/v1/predictions", [prediction()], "p").status_code == 200
    assert store.summary().count("duplicate") == 1
    app._thread.shutdown()


def test_a_full_disk_is_507_and_what_was_acknowledged_is_there(store):
    app = Collector(store, "p", "o", clock=lambda: NOW_S)
    connection = store.engine.raw_connection()
    connection.cursor().execute("PRAGMA max_page_count = 60")
    connection.close()
    acknowledged = 0
    for i in range(1_000):
        answer = post(app, "/v1/outcomes", [outcome(request_id=f"{i}-{j}") for j in range(100)], "o")
        if answer.status_code != 200:
            break
        acknowledged += answer.json()["accepted"]
    assert answer.status_code == 507
    assert "full" in answer.json()["error"]
    assert "retry-after" in answer.headers
    assert sql(store, "SELECT count(*) FROM outcomes") == [(acknowledged,)]
    app._thread.shutdown()


def test_what_is_parked_is_counted_for_all_to_see(store):
    app = Collector(store, "p", "o", clock=lambda: NOW_S)
    assert post(app, "/v1/outcomes", [outcome(), outcome(format=9)], "o").json()["malformed"] == 1
    assert post(app, "/v1/predictions", [prediction(time_s=1.0)], "p").json()["accepted"] == 0
    assert store.summary().count("format") == 1
    assert store.summary().parked_predictions == {"ancient": 1}
    app._thread.shutdown()
