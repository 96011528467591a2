"""What the serving shell costs beside bare uvicorn with the same handler: CPU per request of 20 rows, no model.

Both servers run at once, one uvicorn worker with uvloop and httptools each, and are hit in turn, so that the machine's
other work falls on both alike. The bare one reads, decodes, checks and encodes with our own code; ours also routes,
counts, caps, identifies and tells. Run with `python benchmarks/serving.py`.
"""

import http.client
import json
import multiprocessing
import random
import socket
import statistics
import threading
import time
from pathlib import Path

from perch import asgi
from perch.serving.app import Application
from perch.serving.columns import Inputs
from perch.serving.faults import FaultSwitch
from perch.serving.inference import Infer
from perch.serving.meters import Meters
from perch.serving.predictor import Predictor
from perch.serving.question import Identity
from perch.serving.scoring import Scores
from perch.signals import names
from perch.workload.schema import CLICK_LOG

ROWS = 20
ROUNDS = 5
ROUND_S = 2.0
CONNECTIONS = 4


async def nothing(scope, receive, send):
    """Follows the server's life and answers nothing else."""
    if scope["type"] == "lifespan":
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})


SCORES = [i / 1000 for i in range(ROWS)]
IDENTITY = Identity("ads", "1")


def bare():
    parse = Infer(Inputs(CLICK_LOG), IDENTITY)

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return await nothing(scope, receive, send)
        headers = dict(scope["headers"])
        question = parse(await asgi.read_body(receive, headers, 8_000_000), headers)
        return await asgi.reply(send, 200, question.answer("id", SCORES).body)

    return app


def ours():
    scores = Scores(SCORES, {}, {})
    meters, switch = Meters(IDENTITY, names.grid(25), CLICK_LOG), FaultSwitch(lambda _: scores, CLICK_LOG)
    predictor = Predictor(IDENTITY, switch, meters, lambda *_: None)
    return Application(IDENTITY, CLICK_LOG, predictor, meters, switch, fault_token=None, rest=nothing)


def serve(which, port):
    asgi.run(bare() if which == "bare" else ours(), "127.0.0.1", port, name=which)


def make_body():
    inputs = [
        {"name": name, "datatype": "FP64", "shape": [ROWS], "data": [random.random() for _ in range(ROWS)]}
        for name in CLICK_LOG.numeric
    ] + [
        {
            "name": name,
            "datatype": "BYTES",
            "shape": [ROWS],
            "data": [f"v{random.randrange(99_999)}" for _ in range(ROWS)],
        }
        for name in CLICK_LOG.categorical
    ]
    return json.dumps({"inputs": inputs}).encode()


def ask(port, bodies, deadline, answered):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    while time.perf_counter() < deadline:
        connection.request("POST", "/v2/models/ads/infer", bodies[len(answered) % len(bodies)])
        response = connection.getresponse()
        response.read()
        assert response.status == 200
        answered.append(1)
    connection.close()


def cpu_s(pid):
    """User and system time of a process, in seconds (`man 5 proc`)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def measure(pid, port, bodies):
    """CPU microseconds of the server for each request."""
    answered, before, deadline = [], cpu_s(pid), time.perf_counter() + ROUND_S
    askers = [threading.Thread(target=ask, args=(port, bodies, deadline, answered)) for _ in range(CONNECTIONS)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    return (cpu_s(pid) - before) / len(answered) * 1e6


def start(which):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(which, port))
    process.start()
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.1)
        else:
            return process, port


def main():
    servers = {which: start(which) for which in ("bare", "ours")}
    bodies = [make_body() for _ in range(32)]
    try:
        rounds = [{w: measure(p.pid, port, bodies) for w, (p, port) in servers.items()} for _ in range(ROUNDS)]
    finally:
        for process, _ in servers.values():
            process.terminate()
            process.join()
    for which in servers:
        print(f"{which:5} {statistics.median(r[which] for r in rounds):6.0f} us of CPU per request of {ROWS} rows")
    ratios = sorted(r["ours"] / r["bare"] for r in rounds)
    print(f"ours / bare: min {ratios[0]:.2f}, median {statistics.median(ratios):.2f}, max {ratios[-1]:.2f}")


if __name__ == "__main__":
    main()
