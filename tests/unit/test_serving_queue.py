"""What the counters say of requests that wait for the model: the same as their callers, through real sockets."""

import asyncio
import threading
import time
from contextlib import contextmanager

import aiohttp
import uvicorn

from perch.serving.app import Application
from perch.serving.faults import FaultSwitch
from perch.serving.meters import Meters
from perch.serving.predictor import Predictor
from perch.serving.question import Identity
from perch.serving.scoring import Scores
from perch.signals import names
from perch.workload.schema import Schema
from serving_process import free_port

SCHEMA = Schema(numeric=("price",), categorical=("site",), baseline=("site",))
IDENTITY = Identity("ads", "3")
SLO_MS = 50
COST_S, INTERVAL_S, REQUESTS = 0.02, 0.016, 40
"""A request comes before the one before it is done: each waits 4 ms longer than the last one."""


def slowly(columns):
    time.sleep(COST_S)  # as LightGBM and NumPy do, without holding the interpreter
    return Scores([0.5] * len(columns["price"]), {}, {})


@contextmanager
def served(meters):
    switch = FaultSwitch(slowly, SCHEMA)
    predictor = Predictor(IDENTITY, switch, meters, lambda *_: None)
    app = Application(IDENTITY, SCHEMA, predictor, meters, switch, fault_token=None, rest=None)
    port = free_port()
    config = uvicorn.Config(app, port=port, http="httptools", loop="uvloop", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


async def ask_steadily(url):
    """Durations of all requests, as their caller sees them, in seconds."""

    async def ask(session):
        sent = time.perf_counter()
        body = {"context": {"site": "a"}, "candidates": [{"price": 0.5}]}
        async with session.post("/rank", json=body) as response:
            assert response.status == 200
            await response.read()
        return time.perf_counter() - sent

    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as session:
        tasks = []
        for _ in range(REQUESTS):
            tasks.append(asyncio.create_task(ask(session)))
            await asyncio.sleep(INTERVAL_S)
        return await asyncio.gather(*tasks)


def test_a_wait_for_the_model_is_counted_as_the_caller_sees_it():
    meters = Meters(IDENTITY, names.grid(SLO_MS), SCHEMA)
    with served(meters) as url:
        seen_s = asyncio.run(ask_steadily(url))
    meter = meters.of({}, 8080)
    seen_slow = sum(duration_s > SLO_MS / 1000 for duration_s in seen_s)
    edges_ms = names.grid(SLO_MS).latency_ms
    counted_slow = sum(count for edge, count in zip((0, *edges_ms), meter.latency, strict=True) if edge >= SLO_MS)
    assert seen_slow > REQUESTS / 2
    assert abs(counted_slow - seen_slow) <= 0.1 * REQUESTS
    assert abs(meter.latency_sum_s / sum(seen_s) - 1) < 0.1
