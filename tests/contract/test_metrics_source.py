"""One set of checks for every source of counts: the scraped processes, and the twin in memory."""

import asyncio
import gzip
import logging
import socket
import threading
import time
import tracemalloc
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from perch.adapters.metrics.memory import MemorySource
from perch.adapters.metrics.scrape import ScrapeSource, parse
from perch.serving.meters import Meters
from perch.serving.question import Identity
from perch.serving.scoring import Scores
from perch.signals import names
from perch.workload.schema import Schema

SCHEMA = Schema(numeric=("price",), categorical=("site",), baseline=("site",))
GRID = names.grid(25)


def meters(version, arm, answered, failed=0, rejected=0):
    made = Meters(Identity("ads", version), GRID, SCHEMA)
    meter = made.of({b"x-perch-arm": arm.encode()}, 8080)
    meter.started = answered + failed + rejected
    for i in range(answered):
        meter.finish("ok", i / 1000)
        meter.scored(Scores([0.1], {}, {}))
    for outcome, count in (("error", failed), ("rejected", rejected)):
        for _ in range(count):
            meter.finish(outcome, 0.001)
    return made


@contextmanager
def page(content, delay_s=0.0, status=200, encoding="identity", times=1):
    """A process that shows `content` as its metrics, as many times over; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            time.sleep(delay_s)
            self.send_response(status)
            self.send_header("content-encoding", encoding)
            self.end_headers()
            with suppress(ConnectionError):
                for _ in range(times):
                    self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@contextmanager
def scraped(pages):
    """A scraping source of processes that show `pages`; one without a page does not answer."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: refuses connections
        endpoints = {name: f"127.0.0.1:{nobody.getsockname()[1]}" for name in pages}
        started = [(name, page(content.render())) for name, content in pages.items() if content is not None]
        endpoints |= {name: server.__enter__() for name, server in started}
        yield ScrapeSource(lambda: endpoints, timeout_s=0.3)
        for _, server in started:
            server.__exit__(None, None, None)


@contextmanager
def remembered(pages):
    source = MemorySource()
    for name, content in pages.items():
        source.totals[name] = None if content is None else parse(content.render().decode())
    yield source


@pytest.fixture(params=[scraped, remembered])
def source_of(request):
    return request.param


def read(source):
    async def once():
        totals = await source.read()
        if isinstance(source, ScrapeSource):
            await source.close()
        return totals

    return asyncio.run(once())


def test_each_source_says_what_each_arm_counted(source_of):
    with source_of(
        {"2": meters("2", "canary", answered=7, failed=2, rejected=1), "1": meters("1", "stable", 4)}
    ) as source:
        totals = read(source)
    canary, stable = totals["2"]["canary"], totals["1"]["stable"]
    assert (canary.requests, canary.failed, canary.answered, sum(canary.scores)) == (10, 3, 7, 7)
    assert (stable.requests, stable.failed, stable.answered) == (4, 0, 4)
    assert canary.fits(GRID)
    assert canary.latency[:3] == (1, 1, 0)  # 0 ms and 1 ms; nothing in (1, 1.5]


def test_an_arm_without_requests_counts_zero(source_of):
    with source_of({"2": meters("2", "canary", 3)}) as source:
        assert read(source)["2"]["shadow"].requests == 0


def test_a_source_that_does_not_answer_is_none_and_the_others_are_read(source_of):
    with source_of({"1": None, "2": meters("2", "canary", 3)}) as source:
        totals = read(source)
    assert totals["1"] is None
    assert totals["2"]["canary"].requests == 3


def test_nothing_deployed_is_nothing_read(source_of):
    with source_of({}) as source:
        assert read(source) == {}


@pytest.mark.parametrize(
    ("content", "status", "delay_s", "says"),
    [
        (b"", 200, 0, "not the page of a serving process"),
        (b"<html>", 200, 0, "not the page of a serving process"),
        (b'perch_requests_started_total{model="a",version="1",arm="canary"} 1', 200, 0, "lacks"),
        (b'perch_requests_started_total{model="a",version="1",arm="canary"} x', 200, 0, "could not convert"),
        (b'perch_requests_started_total{model="a",version="1",arm="canary"} +Inf', 200, 0, "nobody counts +Inf"),
        (b'perch_requests_started_total{model="a",version="1",arm="canary"} NaN', 200, 0, "nobody counts NaN"),
        (b'perch_requests_started_total{model="a",version="1",arm="canary"} -1', 200, 0, "nobody counts -1"),
        (b'perch_requests_started_total{model="a",version="1",arm="canary"} 1e300', 200, 0, "nobody counts 1e300"),
        (b"", 500, 0, "500"),
        (b"", 200, 1.0, "no answer within 0.2 s"),
    ],
)
def test_a_page_without_counts_is_no_answer_and_the_log_says_why(content, status, delay_s, says, caplog):
    with caplog.at_level(logging.WARNING), page(content, delay_s, status) as address:
        assert read(ScrapeSource(lambda: {"1": address}, timeout_s=0.2)) == {"1": None}
    assert says in caplog.text


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ({"content": b"# more\n" * 1_000, "times": 1 << 30}, "longer than 1,048,576 bytes"),
        ({"content": gzip.compress(bytes(100 << 20)), "encoding": "gzip"}, "can't decode"),
    ],
    ids=["without an end", "larger than it looks"],
)
def test_a_page_takes_a_mebibyte_of_memory_at_most(made, says, caplog):
    tracemalloc.start()
    with caplog.at_level(logging.WARNING), page(**made) as address:
        assert read(ScrapeSource(lambda: {"1": address}, timeout_s=20.0)) == {"1": None}
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert says in caplog.text
    assert most < 20 << 20


def test_a_histogram_that_is_none_is_refused():
    text = meters("2", "canary", answered=7).render().decode()
    least = next(line for line in text.splitlines() if f"{names.DURATION}_bucket" in line and '"canary"' in line)
    with pytest.raises(ValueError, match="buckets of a histogram"):
        parse(text.replace(least, f"{least.rpartition(' ')[0]} 9"))


def test_a_page_that_is_made_to_take_long_to_read_does_not():
    begun = b'perch_requests_started_total{arm="' * 30_000  # no label of it ends
    for text in (
        begun.decode(),
        begun.replace(b'{arm="', b'{arm="\n').decode(),
        begun.replace(b"arm=", b"\n").decode(),
    ):
        began_s = time.perf_counter()
        with pytest.raises(ValueError, match="not the page"):
            parse(text)
        assert time.perf_counter() - began_s < 1.0


def test_all_processes_are_asked_at_once():
    content = meters("1", "stable", 1).render()
    with page(content, 0.2) as a, page(content, 0.2) as b, page(content, 0.2) as c:
        started = time.perf_counter()
        totals = read(ScrapeSource(lambda: {"1": a, "2": b, "3": c}))
        assert time.perf_counter() - started < 0.5
    assert all(totals.values())
