"""The serving process itself: a real package, real sockets, real signals."""

import asyncio
import math
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

from perch.adapters.metrics.scrape import ScrapeSource
from perch.signals import names
from perch.workload.package import load_package
from serving_process import TOKEN, free_port, running, write_tiny_package

pytestmark = pytest.mark.e2e

ROW = {"price": 0.3, "age": None, "site": "a", "ad": "new"}
SLATE = {"context": {"site": "a"}, "candidates": [{"price": p, "age": 1, "ad": "x"} for p in (0.9, 0.1, 0.5)]}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package") / "tiny"
    return folder, write_tiny_package(folder)


@pytest.fixture(scope="module")
def token_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("token") / "token"
    path.write_text(TOKEN)
    return path


def options(package, **changes):
    folder, digest = package
    given = {"package": folder, "digest": digest, "model": "ads", "version": 3, "slo-latency-ms": 25, **changes}
    return [part for name, value in given.items() for part in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def served(package, token_file):
    arguments = [*options(package), "--allow-faults", "--token-file", str(token_file)]
    with running("perch.serving", *arguments, ready="/v2/health/ready") as (process, client):
        yield process, client


@pytest.fixture
def client(served):
    yield served[1]
    set_faults(served[1])


def set_faults(client, **faults):
    response = client.put("/faults", json=faults, headers={"authorization": f"Bearer {TOKEN}"})
    assert response.status_code == 200


def counted(client, arm="direct"):
    async def scrape():
        source = ScrapeSource(lambda: {"3": client.base_url.netloc.decode()})
        totals = await source.read()
        await source.close()
        return totals["3"][arm]

    return asyncio.run(scrape())


def test_every_protocol_gives_the_models_own_scores(client, package):
    expected = load_package(*package).score({name: [value, value] for name, value in ROW.items()}).tolist()
    rows = client.post("/v1/models/ads:predict", json={"instances": [ROW, ROW]})
    assert rows.json() == {"predictions": expected}
    inputs = [
        {"name": name, "shape": [2], "datatype": "BYTES" if isinstance(value, str) else "FP64", "data": [value, value]}
        for name, value in ROW.items()
    ]
    tensors = client.post("/v2/models/ads/infer", json={"inputs": inputs})
    assert tensors.json()["outputs"][0]["data"] == expected
    context = {name: value for name, value in ROW.items() if name != "price"}
    slate = client.post("/rank", json={"context": context, "candidates": [{"price": 0.3}] * 2})
    assert slate.json()["scores"] == expected


def test_a_score_is_explained_by_what_its_inputs_add_and_counts_for_nobody(client, package):
    context = {name: value for name, value in ROW.items() if name != "price"}
    before = counted(client).requests
    slate = client.post("/explain", json={"context": context, "candidates": [{"price": 0.3}, {"price": None}]})
    first, _ = slate.json()["explanations"]
    (expected,) = load_package(*package).score({name: [value] for name, value in ROW.items()})
    assert first["score"] == expected
    odds = first["base"] + sum(first["inputs"].values())
    assert 1 / (1 + math.exp(-odds)) == pytest.approx(expected)
    assert counted(client).requests == before


def test_a_binary_request_as_tritonclient_sends_it_is_answered_in_binary(client):
    sizes = {"site": 2 * 5, "price": 16}
    header = {
        "inputs": [
            {"name": "price", "shape": [2], "datatype": "FP64", "parameters": {"binary_data_size": 16}},
            {"name": "site", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": sizes["site"]}},
            {"name": "age", "shape": [2], "datatype": "FP64", "data": [1, 2]},
            {"name": "ad", "shape": [2], "datatype": "BYTES", "data": ["x", "y"]},
        ],
        "parameters": {"binary_data_output": True},
    }
    import json

    head = json.dumps(header).encode()
    body = head + struct.pack("<2d", 0.1, 0.9) + b"\x01\0\0\0a\x01\0\0\0b"
    response = client.post(
        "/v2/models/ads/infer", content=body, headers={"inference-header-content-length": str(len(head))}
    )
    length = int(response.headers["inference-header-content-length"])
    assert json.loads(response.content[:length])["outputs"][0]["parameters"] == {"binary_data_size": 16}
    low, high = struct.unpack("<2d", response.content[length:])
    assert low > high  # the cheaper one is clicked more


def test_bentoml_answers_what_is_not_ours(client):
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 200
    assert "/predict" in client.get("/docs.json").json()["paths"]
    assert client.get("/nope").status_code == 404


def test_bentomls_own_predict_route_is_ours_and_counted(client):
    before = counted(client).requests
    assert client.post("/predict", json={"instances": [ROW]}).status_code == 200
    assert counted(client).requests == before + 1


def test_counts_come_by_arm_through_a_scrape(client):
    for _ in range(5):
        client.post("/rank", json=SLATE, headers={names.ARM_HEADER: "canary"})
    client.post("/rank", json=SLATE, headers={names.ARM_HEADER: "canary", "host": "ads.perch-shadow"})
    canary = counted(client, "canary")
    assert (canary.requests, canary.failed, canary.answered, sum(canary.scores)) == (5, 0, 5, 5)
    assert canary.fits(names.grid(25))
    assert counted(client, "shadow").requests == 1


@pytest.mark.parametrize(
    ("faults", "status"),
    [({"error_rate": 1.0}, 500), ({"constant_score": 0.5}, 200), ({"skew": {"column": "price", "how": "null"}}, 200)],
)
def test_faults_are_seen_by_callers_and_counters(client, faults, status):
    healthy = client.post("/rank", json=SLATE).json()["scores"]
    before = counted(client).failed
    set_faults(client, **faults)
    response = client.post("/rank", json=SLATE)
    assert response.status_code == status
    assert response.json().get("scores") != healthy
    assert counted(client).failed == before + (status == 500)


def test_added_latency_is_counted_as_latency(client):
    set_faults(client, latency_ms=60)
    started = time.perf_counter()
    client.post("/rank", json=SLATE, headers={names.ARM_HEADER: "baseline"})
    assert time.perf_counter() - started >= 0.059
    edges = names.grid(25).latency_ms
    baseline = counted(client, "baseline")
    assert sum(count for edge, count in zip(edges, baseline.latency, strict=False) if edge <= 50) == 0
    assert baseline.answered == 1


def test_silence_is_a_failure_once_the_caller_gives_up(client):
    import httpx

    set_faults(client, silent=True)
    with pytest.raises(httpx.ReadTimeout):
        client.post("/rank", json=SLATE, headers={names.ARM_HEADER: "stable"}, timeout=0.2)
    deadline = time.monotonic() + 5
    while counted(client, "stable").failed == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    stable = counted(client, "stable")
    assert (stable.requests, stable.failed, stable.answered) == (1, 1, 0)


def test_a_body_of_ten_megabytes_is_refused_whether_announced_or_chunked(client):
    big = b" " * 10_000_000
    assert client.post("/rank", content=big).status_code == 413
    chunks = (big[i : i + 500_000] for i in range(0, len(big), 500_000))
    refused = client.post("/rank", content=chunks)
    assert refused.status_code == 413
    assert "8,000,000 bytes" in refused.json()["error"]
    assert client.post("/rank", json=SLATE).status_code == 200


def test_requests_in_flight_are_answered_after_sigterm_and_the_exit_is_clean(package, token_file):
    arguments = [*options(package), "--allow-faults", "--token-file", str(token_file)]
    with running("perch.serving", *arguments, ready="/v2/health/ready") as (process, client):
        set_faults(client, latency_ms=500)
        answers = []
        asking = threading.Thread(target=lambda: answers.append(client.post("/rank", json=SLATE)))
        asking.start()
        time.sleep(0.2)
        process.terminate()
        asking.join()
        assert [answer.status_code for answer in answers] == [200]
        assert process.wait(10) == 0


def test_predictions_reach_the_collector_and_outcomes_join_them(package, token_file, tmp_path):
    tokens = [*("--token-file", str(token_file)), *("--feedback-token-file", str(token_file))]
    store = ["--store", str(tmp_path / "s"), *tokens, "--attribution-window-s", "60"]
    with running("perch.collector", *store, ready="/healthz") as (_, collector):
        arguments = [*options(package, collector=collector.base_url), "--collector-token-file", str(token_file)]
        with running("perch.serving", *arguments, ready="/v2/health/ready") as (process, client):
            for host in ("ads.perch", "ads.perch-shadow"):
                headers = {"x-request-id": "r-1", names.ARM_HEADER: "canary", "host": host}
                client.post("/rank", json=SLATE, headers=headers)
            assert client.put("/faults", json={}).status_code == 403
            process.terminate()
            assert process.wait(10) == 0
        outcome = {"request_id": "r-1", "label": 1, "time_s": time.time()}
        collector.post("/v1/outcomes", json=[outcome], headers={"authorization": f"Bearer {TOKEN}"})
        (tally,) = collector.get("/v1/summary").json()["tallies"]
        assert (tally["result"], tally["arm"], tally["version"], tally["clicks"]) == ("joined", "canary", "3", 1)


def refused(arguments, port=None):
    command = [sys.executable, "-m", "perch.serving", "--port", str(port or free_port()), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stderr.count("\n") == 1, ended.stderr
    return ended.returncode, ended.stderr


def test_another_digest_or_a_changed_file_is_refused_before_the_port_opens(package, tmp_path):
    code, sentence = refused(options(package, digest="0" * 64))
    assert code == 5
    assert "000000000000" in sentence
    corrupt = tmp_path / "corrupt"
    shutil.copytree(package[0], corrupt)
    model = next(path for path in corrupt.iterdir() if path.name.startswith("model"))
    model.write_bytes(model.read_bytes()[:-1] + b"!")
    code, sentence = refused(options((corrupt, package[1])))
    assert code == 5
    assert str(model) in sentence


def test_a_port_in_use_is_refused(package):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, sentence = refused(options(package), taken.getsockname()[1])
    assert code == 7
    assert "--port" in sentence


@pytest.mark.parametrize(
    ("asked", "lacking"),
    [(["--allow-faults"], "--token-file"), (["--collector", "http://127.0.0.1:9"], "--collector-token-file")],
)
def test_what_needs_a_token_is_refused_without_one(package, asked, lacking):
    code, sentence = refused([*options(package), *asked])
    assert code == 2
    assert f"with {lacking}." in sentence
