"""What of a serving pod the Gateway leads to: predictions, and nothing that tells of the pod or changes it."""

import time

import httpx
import pytest

pytestmark = pytest.mark.cluster

INSIDE = (
    "/metrics",
    "/faults",
    "/docs.json",
    "/readyz",
    "/predict",
    "/rank/",
    "/ranking",
    "/v2x",
    "/v2/../metrics",
    "/v2/%2e%2e/metrics",
)
EMPTY = {"context": {}, "candidates": []}


@pytest.fixture
def client(service, gateway):
    """A client of a service that serves."""
    service.apply(model="ad-clicks", version=1)
    with httpx.Client(base_url=gateway, headers={"host": service.hostname}, timeout=10, trust_env=False) as client:
        for _ in range(240):
            if client.get("/v2/health/ready").status_code == 200:
                break
            time.sleep(0.5)
        yield client


def counted(kubectl, namespace, service):
    """How many requests the service's pods took on."""
    pages = [kubectl("exec", "-n", namespace, pod, "--", "python", "-c", _PAGE).stdout for pod in service.pods(1)]
    lines = [line for page in pages for line in page.splitlines() if line.startswith("perch_requests_started_total")]
    return sum(int(float(line.rpartition(" ")[2])) for line in lines)


_PAGE = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:8080/metrics').read().decode())"


def test_clients_get_predictions_and_nothing_else_of_a_pod(client):
    answers = {path: client.get(path) for path in INSIDE}
    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(INSIDE, 404)
    assert not [path for path, answer in answers.items() if "x-perch-version" in answer.headers]
    assert client.put("/faults", json={}).status_code == 404
    assert client.get("/v2").status_code == 200
    assert client.get("/v2/models/ad-clicks").json()["name"] == "ad-clicks"
    assert client.get("/v1/models/ad-clicks").json()["ready"] is True
    assert client.post("/rank", json=EMPTY).headers["x-perch-version"] == "1"


def test_a_client_cannot_have_a_request_sent_again(client, kubectl, installed, service):
    orders = {
        "x-envoy-retry-on": "retriable-4xx,retriable-status-codes",
        "x-envoy-retriable-status-codes": "400",
        "x-envoy-max-retries": "5",
    }
    before = counted(kubectl, installed, service)
    for _ in range(10):
        assert client.post("/rank", json=EMPTY, headers=orders).status_code == 400
    assert counted(kubectl, installed, service) - before == 10
