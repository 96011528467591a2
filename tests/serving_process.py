"""A tiny real package, and processes that are started and always stopped."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pandas as pd

from perch.workload.estimators.lightgbm import Model
from perch.workload.features import FeatureColumns, FeatureSettings, Transform
from perch.workload.model import Scorer
from perch.workload.package import write_package
from perch.workload.schema import Schema

TOKEN = "a-token-for-tests"

SCHEMA = Schema(numeric=("price", "age"), categorical=("site", "ad"), baseline=("site",))


def tiny_scorer() -> Scorer:
    """Has seen the sites `a` and `b`, and ads `x` and `y`; a lower price is clicked more."""
    columns = FeatureColumns(SCHEMA.numeric, SCHEMA.categorical)
    rng = np.random.default_rng(0)
    rows = {
        "price": rng.random(2000).tolist(),
        "age": rng.random(2000).tolist(),
        "site": rng.choice(["a", "b"], 2000).tolist(),
        "ad": rng.choice(["x", "y"], 2000).tolist(),
    }
    clicked = rng.random(2000) < 0.3 * (1 - np.array(rows["price"]))
    transform = Transform.fit(pd.DataFrame(rows), clicked, columns, FeatureSettings(bits=8))
    trees = Model.fit(transform.transform(rows).values, clicked, names=transform.names, seed=0)
    return Scorer(SCHEMA, transform, trees, keep_rate=1.0)


def write_tiny_package(folder: Path) -> str:
    return write_package(folder, tiny_scorer(), score_histogram=())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(module: str, *arguments: str, ready: str) -> Iterator[tuple[subprocess.Popen, httpx.Client]]:
    """A process of ours that answers `ready`, and a client of it."""
    port = free_port()
    command = [sys.executable, "-m", module, "--port", str(port), *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10)
    try:
        deadline = time.monotonic() + 60
        while not _answers(client, ready):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process, client
    finally:
        client.close()
        process.kill()
        process.communicate()


def _answers(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path).status_code == 200
    except httpx.TransportError:
        return False
