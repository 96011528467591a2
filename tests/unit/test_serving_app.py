"""How a request is answered and counted, whatever becomes of it."""

import asyncio
import json
import time

import httpx
import pytest

from perch.adapters.traffic.probe import QUESTION
from perch.serving import predictor as predictor_module
from perch.serving.app import Application
from perch.serving.faults import Faults, FaultSwitch
from perch.serving.meters import Meters
from perch.serving.predictor import Predictor
from perch.serving.question import Identity
from perch.serving.scoring import Scores
from perch.signals import names
from perch.workload.schema import Schema

SCHEMA = Schema(numeric=("price",), categorical=("site",), baseline=("site",))
GRID = names.grid(25)
SLATE = {"context": {"site": "a"}, "candidates": [{"price": 0.2}, {"price": 0.9}]}


def by_price(columns):
    return Scores([p if p is not None else 0.5 for p in columns["price"]], {"price": columns["price"].count(None)}, {})


async def elsewhere(scope, receive, send):
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": b"elsewhere"})


class Process:
    """The application over a scoring function, called in this process."""

    def __init__(self, score=by_price, fault_token="secret"):
        identity = Identity("ads", "3")
        self.meters = Meters(identity, GRID, SCHEMA)
        self.switch = FaultSwitch(score, SCHEMA)
        self.events = []
        predictor = Predictor(identity, self.switch, self.meters, lambda event, _: self.events.append(event))
        self.app = Application(
            identity, SCHEMA, predictor, self.meters, self.switch, fault_token=fault_token, rest=elsewhere
        )

    def send(self, method, path, **request):
        return asyncio.run(self.send_async(method, path, **request))

    async def send_async(self, method, path, **request):
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://perch") as client:
            return await client.request(method, path, **request)

    def rank(self, **headers):
        return self.send("POST", "/rank", json=SLATE, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def meter(self, arm="direct"):
        return self.meters.of({b"x-perch-arm": arm.encode()}, 8080)


@pytest.mark.parametrize("path", ["/v2/models/ads/infer", "/v2/models/ads/versions/3/infer"])
def test_v2_answers_with_and_without_the_version_in_the_path(path):
    inputs = [
        {"name": "price", "shape": [1], "datatype": "FP64", "data": [0.25]},
        {"name": "site", "shape": [1], "datatype": "BYTES", "data": ["a"]},
    ]
    response = Process().send("POST", path, json={"inputs": inputs})
    assert response.json()["outputs"][0]["data"] == [0.25]


def test_what_a_probe_asks_is_refused_by_name_and_held_against_nobody():
    process = Process()
    response = process.send("POST", QUESTION)
    assert (response.status_code, response.headers["x-perch-version"]) == (404, "3")
    assert process.meter().finished == {"ok": 0, "error": 0, "invalid": 1, "rejected": 0}


def test_the_content_type_is_never_looked_at():
    for content_type in ("application/octet-stream", "text/plain"):
        body = json.dumps({"instances": [{"price": 0.5, "site": "a"}]})
        response = Process().send(
            "POST", "/v1/models/ads:predict", content=body, headers={"content-type": content_type}
        )
        assert response.json() == {"predictions": [0.5]}


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/", {"status": "alive"}),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/ads/ready", {"ready": True}),
        ("/v2/models/ads/versions/3/ready", {"ready": True}),
        ("/v1/models/ads", {"name": "ads", "ready": True}),
    ],
)
def test_clients_find_the_health_answers_they_require(path, answer):
    assert Process().send("GET", path).json() == answer


def test_the_request_id_and_version_come_back():
    response = Process().rank(x_request_id="r-1")
    assert response.headers["x-request-id"] == response.json()["request_id"] == "r-1"
    assert response.headers["x-perch-version"] == "3"


def test_an_id_that_cannot_be_stored_is_replaced():
    response = Process().rank(x_request_id="x" * 200)
    assert len(response.headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    ("headers", "arm"),
    [
        ({}, "direct"),
        ({"x_perch_arm": "canary"}, "canary"),
        ({"x_perch_arm": "anything"}, "direct"),
        ({"x_perch_arm": "stable", "host": "ads.perch-shadow"}, "shadow"),
        ({"x_perch_arm": "stable", "host": "ads-shadow.perch"}, "stable"),
        ({"host": "ads-shadow"}, "direct"),
    ],
)
def test_a_request_counts_for_the_arm_it_was_sent_to(headers, arm):
    process = Process()
    process.rank(**headers)
    assert process.meter(arm).started == 1
    assert process.meter(arm).finished["ok"] == 1
    assert process.events[0].arm == arm


def test_an_answer_counts_its_time_rows_and_first_score_and_tells_the_shown_one():
    process = Process()
    process.rank(x_request_id="r-1")
    meter = process.meter()
    assert sum(meter.latency) == 1
    assert sum(meter.scores) == 1
    assert meter.score_sum == pytest.approx(-1.386294)  # log(0.2 / 0.8)
    assert meter.rows == 2
    (event,) = process.events
    assert (event.request_id, event.model, event.version) == ("r-1", "ads", "3")
    assert (event.score, event.rows, event.shown) == (0.9, 2, 1)


def test_the_page_of_inputs_says_so_where_the_package_tells_nothing_of_them():
    response = Process().send("GET", names.INPUTS_PATH)
    assert response.status_code == 200
    assert response.text.rstrip() == names.INPUTS_ABSENT


def test_missing_inputs_are_counted_by_feature():
    process = Process()
    process.send("POST", "/predict", json={"instances": [{"price": None, "site": "a"}] * 3})
    assert process.meter().missing == {"price": 3, "site": 0}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/rank", b"nonsense", 400),
        ("/v2/models/other/infer", b"{}", 404),
        ("/v2/models/ads/versions/9/infer", b"{}", 404),
        ("/v1/models/other:predict", b"{}", 404),
        ("/rank", b" " * 8_000_001, 413),
    ],
)
def test_the_callers_mistake_is_4xx_with_a_sentence_and_counts_as_invalid(path, body, status):
    process = Process()
    response = process.send("POST", path, content=body)
    assert response.status_code == status
    assert len(response.json()["error"]) > 20
    meter = process.meter()
    assert (meter.started, meter.finished["invalid"], sum(meter.latency), process.events) == (1, 1, 0, [])


def test_a_chunked_body_has_the_same_limit():
    async def chunks():
        for _ in range(9):
            yield b" " * 1_000_000

    assert Process().send("POST", "/rank", content=chunks()).status_code == 413


@pytest.mark.parametrize("output", [[float("nan"), 0.1], [float("inf"), 0.1], [1.1, 0.1], [-0.1, 0.1], [0.1]])
def test_an_output_that_is_no_probability_for_each_row_is_an_error(output):
    process = Process(lambda columns: Scores(output, {}, {}))
    response = process.rank()
    assert response.status_code == 500
    meter = process.meter()
    assert (meter.finished["error"], sum(meter.scores), process.events) == (1, 0, [])


def test_a_failing_model_is_an_error_without_a_traceback_in_the_answer():
    def fail(columns):
        raise KeyError("secret detail")

    process = Process(fail)
    response = process.rank()
    assert response.status_code == 500
    assert response.json().keys() == {"error"}
    assert "secret" not in response.text
    assert "Traceback" not in response.text
    assert process.meter().finished["error"] == 1


def test_more_requests_than_may_be_in_work_are_rejected(monkeypatch):
    monkeypatch.setattr(predictor_module, "IN_FLIGHT_LIMIT", 2)
    process = Process()
    process.switch.set(Faults(latency_ms=50))

    async def burst():
        return await asyncio.gather(*(process.send_async("POST", "/rank", json=SLATE) for _ in range(5)))

    assert sorted(r.status_code for r in asyncio.run(burst())) == [200, 200, 503, 503, 503]
    assert process.meter().finished == {"ok": 2, "error": 0, "invalid": 0, "rejected": 3}
    assert process.rank().status_code == 200


def test_requests_that_wait_for_the_model_are_in_work(monkeypatch):
    monkeypatch.setattr(predictor_module, "IN_FLIGHT_LIMIT", 2)

    def slowly(columns):
        time.sleep(0.05)
        return by_price(columns)

    process = Process(slowly)

    async def burst():
        return await asyncio.gather(*(process.send_async("POST", "/rank", json=SLATE) for _ in range(5)))

    assert sorted(r.status_code for r in asyncio.run(burst())) == [200, 200, 503, 503, 503]


def test_a_caller_who_leaves_before_the_body_is_complete_made_an_invalid_request():
    process = Process()
    sent = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    asyncio.run(process.app({"type": "http", "method": "POST", "path": "/rank", "headers": []}, receive, send))
    assert process.meter().finished["invalid"] == 1


def test_wrong_methods_and_unknown_pages_are_refused_and_not_counted():
    process = Process()
    assert process.send("GET", "/rank").status_code == 405
    assert process.send("POST", "/v2/health/ready").status_code == 405
    assert process.send("GET", "/v2/models/other").status_code == 404
    assert process.meter().started == 0


def test_everything_else_is_answered_by_the_application_behind():
    assert Process().send("GET", "/docs.json").status_code == 418


def put(process, faults, token="secret"):
    return process.send("PUT", "/faults", json=faults, headers={"authorization": f"Bearer {token}"})


def test_faults_are_switched_by_who_has_the_token():
    process = Process()
    assert put(process, {"error_rate": 1}).json()["error_rate"] == 1
    assert process.rank().status_code == 500
    assert process.send("GET", "/faults").json()["error_rate"] == 1
    assert put(process, {}).status_code == 200
    assert process.rank().status_code == 200


def test_faults_are_refused_without_the_token_and_where_they_are_not_allowed():
    process = Process()
    assert put(process, {"error_rate": 1}, token="other").status_code == 401
    assert process.rank().status_code == 200
    refused = put(Process(fault_token=None), {"error_rate": 1})
    assert refused.status_code == 403
    assert "--allow-faults" in refused.json()["error"]


@pytest.mark.parametrize(
    "faults",
    [{"error_rate": 2}, {"eror_rate": 0.1}, {"latency_ms": -1}, {"skew": {"column": "x", "how": "null"}},
     {"skew": {"column": "site", "how": "scale", "factor": 2}}, []],
)  # fmt: skip
def test_impossible_faults_are_refused_and_change_nothing(faults):
    process = Process()
    assert put(process, faults).status_code == 400
    assert process.switch.faults == Faults()
