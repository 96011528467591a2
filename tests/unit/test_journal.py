"""Events that the collector has not acknowledged outlive the process, each once, in their order."""

import asyncio
import os

import httpx
import msgspec
import pytest

from perch.serving import journal as module
from perch.serving.emitter import Emitter
from perch.serving.journal import Journal
from perch.signals.events import Prediction


def event(i):
    return msgspec.json.encode(Prediction(f"r{i}", "ads", "3", "canary", 1.0, 0.1, 8, 0))


def left(folder):
    return [msgspec.json.decode(one)["request_id"] for one in Journal(folder).left_behind()]


def ids(*numbers):
    return [f"r{i}" for i in numbers]


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    monkeypatch.setattr(module, "_EVENTS_A_FILE", 10)


def test_what_was_not_acknowledged_is_found_by_the_next_process_in_its_order(tmp_path):
    journal = Journal(tmp_path)
    for i in range(35):
        journal.add(event(i))
    assert left(tmp_path) == ids(*range(35))
    journal.acknowledge(24)
    assert left(tmp_path) == ids(*range(20, 35))


def test_files_are_deleted_as_their_events_arrive(tmp_path):
    journal = Journal(tmp_path)
    for i in range(1_000):
        journal.add(event(i))
        journal.acknowledge(1)
        assert len(list(tmp_path.iterdir())) <= 2
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_events_of_several_lives_leave_one_after_the_other(tmp_path):
    for life in range(3):
        journal = Journal(tmp_path)
        assert len(journal.left_behind()) == life * 15
        for i in range(15):
            journal.add(event(100 * life + i))
    journal = Journal(tmp_path)
    assert len(journal.left_behind()) == 45
    journal.add(event(999))
    journal.acknowledge(45)
    assert left(tmp_path) == ids(999)
    journal.acknowledge(1)
    journal.close()
    assert left(tmp_path) == []


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path):
    Journal(tmp_path).add(event(1))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes() + event(2)[:20])
    assert left(tmp_path) == ids(1)
    journal = Journal(tmp_path)
    journal.left_behind()
    journal.acknowledge(1)
    assert list(tmp_path.iterdir()) == []


def test_files_are_readable_by_their_owner_only(tmp_path):
    Journal(tmp_path).add(event(1))
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


def emitted(folder, status, count=5):
    """What a collector gets from an emitter that takes events for a moment."""
    got = []

    def answer(request):
        got.extend(one.request_id for one in msgspec.json.decode(request.content, type=list[Prediction]))
        return httpx.Response(status)

    async def run():
        emitter = Emitter("http://collector", "secret", lambda _: None, journal=Journal(folder))
        emitter._client = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://collector")
        async with emitter:
            for i in range(count):
                emitter.offer(msgspec.json.decode(event(i), type=Prediction))

    asyncio.run(run())
    return got


def test_an_emitter_sends_what_its_forerunner_could_not(tmp_path):
    assert emitted(tmp_path, 503) == ids(*range(5))
    assert left(tmp_path) == ids(*range(5))
    assert emitted(tmp_path, 200, count=0) == ids(*range(5))
    assert left(tmp_path) == []


def test_what_a_collector_refuses_for_good_is_not_kept(tmp_path):
    emitted(tmp_path, 400)
    assert left(tmp_path) == []


def test_a_disk_that_is_full_stops_the_journal_and_no_event(tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert emitted(tmp_path, 200) == ids(*range(5))
    assert "No space left" in caplog.text
