"""Events reach the collector, in order, once; a request never waits for that."""

import asyncio
import time

import httpx
import msgspec
import pytest

from perch.collector.app import BODY_LIMIT_BYTES
from perch.serving import emitter
from perch.serving.emitter import Emitter, _patience_s
from perch.serving.journal import Journal
from perch.signals.events import Prediction


def prediction(i, **told):
    return Prediction(f"r{i}", "ads", "3", "canary", 1.0, 0.1, 8, 0, **told)


class FakeCollector:
    retry_after = None

    def __init__(self, *statuses):
        self.statuses = list(statuses)
        self.got, self.attributions = [], []
        self.tokens = set()
        self.asked_at = []

    def __call__(self, request):
        if len(request.content) > BODY_LIMIT_BYTES:
            return httpx.Response(413)
        self.tokens.add(request.headers["authorization"])
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 0:
            raise httpx.ConnectError("refused")
        if status == 200:
            events = msgspec.json.decode(request.content, type=list[Prediction])
            self.got += [event.request_id for event in events]
            self.attributions += [event.attributions for event in events]
        self.asked_at.append(time.monotonic())
        return httpx.Response(status, headers={"retry-after": self.retry_after} if self.retry_after else {})


def emitting_to(collector, dropped, capacity=10_000, journal=None):
    emitting = Emitter("http://collector", "secret", dropped, capacity, journal)
    emitting._client = httpx.AsyncClient(
        transport=httpx.MockTransport(collector), base_url="http://collector", headers=emitting._client.headers
    )
    return emitting


def emit(collector, count, capacity=10_000, wait_s=0.0, **told):
    dropped = []

    async def run():
        async with emitting_to(collector, dropped.append, capacity) as emitting:
            for i in range(count):
                emitting.offer(prediction(i, **told))
            await asyncio.sleep(wait_s)

    asyncio.run(run())
    return sum(dropped)


def ids(count):
    return [f"r{i}" for i in range(count)]


def test_events_are_sent_in_the_background_with_the_token():
    collector = FakeCollector()
    assert emit(collector, 1200, wait_s=0.4) == 0
    assert collector.got == ids(1200)
    assert collector.tokens == {"Bearer secret"}


def test_what_is_left_at_the_end_is_sent():
    collector = FakeCollector()
    emit(collector, 700)
    assert collector.got == ids(700)


@pytest.mark.parametrize("failure", [0, 500])
def test_a_batch_that_was_not_acknowledged_is_sent_again(failure):
    collector = FakeCollector(failure)
    assert emit(collector, 10, wait_s=0.6) == 0
    assert collector.got == ids(10)


def test_batches_of_wide_models_are_cut_to_what_the_collector_takes():
    collector = FakeCollector()
    row = {f"column {i}": "x" * 900 for i in range(30)}
    assert 500 * len(msgspec.json.encode(row)) > BODY_LIMIT_BYTES
    assert emit(collector, 700, features=row) == 0
    assert collector.got == ids(700)


def test_one_event_that_is_larger_than_a_batch_goes_by_itself(monkeypatch):
    monkeypatch.setattr(emitter, "_BATCH_BYTES", 100)
    collector = FakeCollector()
    assert emit(collector, 3) == 0
    assert collector.got == ids(3)
    assert len(collector.asked_at) == 3


def test_a_full_buffer_drops_and_counts_what_is_new():
    collector = FakeCollector()
    assert emit(collector, 30, capacity=20) == 10
    assert collector.got == ids(20)


def test_a_batch_that_is_refused_for_good_is_counted_as_dropped():
    collector = FakeCollector(400)
    assert emit(collector, 10) == 10
    assert collector.got == []


@pytest.mark.parametrize("status", [429, 503, 507])
def test_a_collector_that_asks_for_patience_is_left_alone_for_as_long_and_loses_nothing(status):
    collector = FakeCollector(status)
    collector.retry_after = "1"
    assert emit(collector, 100, wait_s=1.6) == 0
    assert collector.got == ids(100)
    first, second = collector.asked_at[:2]
    assert 0.9 < second - first < 1.5


@pytest.mark.parametrize("said", ["soon", "-1", "Wed, 21 Oct 2026 07:28:00 GMT", "1e9", ""])
def test_what_cannot_be_understood_as_patience_is_none(said):
    assert _patience_s(httpx.Response(429, headers={"retry-after": said})) == 0.0


def test_patience_ends():
    assert _patience_s(httpx.Response(429, headers={"retry-after": "86400"})) == 60.0


def test_events_are_written_down_at_once_and_sent_with_the_attributions_that_come_after(tmp_path):
    collector, added, dropped = FakeCollector(), {"price": -0.5}, []

    async def run():
        attributions = asyncio.get_running_loop().create_future()
        async with emitting_to(collector, dropped.append, journal=Journal(tmp_path)) as emitting:
            emitting.offer(prediction(0), attributions)
            emitting.offer(prediction(1), None)
            written = Journal(tmp_path).left_behind()
            await asyncio.sleep(0.4)
            assert collector.got == []
            attributions.set_result(added)
            await asyncio.sleep(0.1)
            assert collector.got == ids(2)
        return written

    assert asyncio.run(run()) == [msgspec.json.encode(prediction(i)) for i in range(2)]
    assert collector.attributions == [added, None]
    assert dropped == []


@pytest.mark.parametrize("wait_s", [0.0, 0.5])
def test_attributions_that_do_not_come_hold_up_neither_events_nor_the_end(monkeypatch, wait_s):
    monkeypatch.setattr(emitter, "_ATTRIBUTIONS_TIMEOUT_S", 0.1)
    collector, dropped = FakeCollector(), []

    async def run():
        never, failed = (asyncio.get_running_loop().create_future() for _ in range(2))
        failed.set_exception(ZeroDivisionError())
        async with emitting_to(collector, dropped.append) as emitting:
            emitting.offer(prediction(0), never)
            emitting.offer(prediction(1), failed)
            await asyncio.sleep(wait_s)
            assert collector.got == (ids(2) if wait_s else [])
        return never.cancelled()

    assert asyncio.run(run())
    assert collector.got == ids(2)
    assert collector.attributions == [None, None]
    assert dropped == []
