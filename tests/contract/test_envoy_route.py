"""What only the real Envoy can show: nothing is lost by a change, nothing can be forged, nobody else gets in."""

import asyncio
import json
import math
import random
import time
from http.client import HTTPConnection

import pytest

from envoy_bench import Backend, Envoy, served
from perch.adapters.traffic.envoy import EnvoyFileRouter, ready
from perch.core.types import Arm, Weights
from perch.errors import PlatformError
from perch.serving.meters import Meters
from perch.serving.question import Identity
from perch.signals.names import grid
from perch.workload.schema import Schema

RPS = 250


@pytest.fixture
def envoy(tmp_path):
    envoy = Envoy(tmp_path)
    yield envoy
    envoy.stop()


async def under_load(envoy, change):
    """Run `change` in a thread while requests flow, and a moment longer."""
    changing = asyncio.create_task(asyncio.to_thread(change))
    answers, lost = await envoy.load(rps=RPS, until=changing.done)
    await changing
    return answers, lost


def test_a_hundred_weight_changes_under_load_lose_nothing(envoy):
    changes, elapsed_s = 100, []

    def change_often(endpoints):
        rng = random.Random(7)
        for _ in range(changes):
            share = rng.choice([0.0, 0.01, 0.1, 0.5, 0.9, 1.0])
            weights = Weights(stable=1 - share, canary=share, mirror=rng.choice([0.0, 0.2]))
            started = time.perf_counter()
            envoy.router.route(endpoints, weights)
            elapsed_s.append(time.perf_counter() - started)
            assert envoy.router.in_force() == envoy.router.weights()
            time.sleep(0.03)

    async def scenario():
        async with served(Backend("v1", delay_s=0.01), Backend("v2", delay_s=0.01)) as (v1, v2):
            endpoints = {Arm.STABLE: v1, Arm.CANARY: v2}
            envoy.router.route(endpoints, Weights())
            return await under_load(envoy, lambda: change_often(endpoints))

    answers, lost = asyncio.run(scenario())
    assert lost == 0
    assert answers.total() > RPS * changes * 0.03 / 2
    assert answers["v1"] > 0 < answers["v2"]
    assert sorted(elapsed_s)[changes // 2] < 1


def test_a_version_that_moves_from_canary_to_stable_loses_nothing(envoy):
    v1, v2, v3 = (Backend(name, delay_s=0.03) for name in ("v1", "v2", "v3"))

    def promote_each(addresses):
        champion, *challengers = addresses
        for challenger in challengers * 4:
            envoy.router.route({Arm.STABLE: champion, Arm.CANARY: challenger}, Weights(stable=0.5, canary=0.5))
            time.sleep(0.15)
            envoy.router.route({Arm.STABLE: champion, Arm.CANARY: challenger}, Weights(stable=0.0, canary=1.0))
            time.sleep(0.15)
            envoy.router.route({Arm.STABLE: challenger}, Weights())
            champion = challenger
            time.sleep(0.15)

    async def scenario():
        async with served(v1, v2, v3) as addresses:
            envoy.router.route({Arm.STABLE: addresses[0]}, Weights())
            return await under_load(envoy, lambda: promote_each(addresses))

    answers, lost = asyncio.run(scenario())
    assert lost == 0
    assert answers.keys() == {"v1", "v2", "v3"}


def through(envoy, requests, *, backend, weights=None):
    """Send (path, headers) one after the other; statuses and response headers."""

    async def scenario():
        async with served(backend) as (address,):
            envoy.router.route({Arm.STABLE: address}, weights or Weights())
            async with envoy.client() as client:
                return [await one(client, path, headers) for path, headers in requests]

    async def one(client, path, headers):
        async with client.post(path, data=b"{}", headers=headers) as response:
            return response.status, response.headers

    return asyncio.run(scenario())


def test_a_client_cannot_choose_its_arm(envoy):
    backend = Backend("v1")
    through(envoy, [("/rank", {"x-perch-arm": "canary"})], backend=backend)
    assert backend.arms == {"stable": 1}


@pytest.mark.parametrize("service", ["ctr", "ctr-shadow"])
def test_no_host_of_a_client_and_no_name_of_a_service_makes_a_live_request_a_copy(tmp_path, service):
    hosts = ("ads-shadow", "ads-shadow:80", "127.0.0.1", "ctr.perch-shadow")
    v1, v2 = Backend("v1"), Backend("v2")

    async def scenario():
        async with served(v1, v2) as (stable, canary):
            envoy = Envoy(tmp_path, service=service)
            try:
                envoy.router.route({Arm.STABLE: stable, Arm.CANARY: canary}, Weights(mirror=1.0))
                async with envoy.client() as client:
                    for host in hosts:
                        async with client.post("/rank", data=b"{}", headers={"host": host}) as response:
                            assert response.status == 200
                    for _ in range(100):  # nobody waits for the answer to a copy
                        if len(v2.requests) < len(hosts):
                            await asyncio.sleep(0.05)
            finally:
                envoy.stop()

    asyncio.run(scenario())
    assert counted_arms(v1) == ["stable"] * len(hosts)
    assert counted_arms(v2) == ["shadow"] * len(hosts)


def counted_arms(backend):
    """The arms that a model server would count the backend's requests under."""
    meters = Meters(Identity("ads", "3"), grid(25), Schema(numeric=("price",), categorical=(), baseline=()))
    received = ({key.encode(): value.encode() for key, value in headers.items()} for _, headers in backend.requests)
    return [meters.of(headers, 8080).arm for headers in received]


def test_a_client_cannot_have_requests_repeated_that_a_model_has_seen(envoy):
    backend = Backend("v1", status=503)
    ask = {"x-envoy-retry-on": "5xx", "x-envoy-max-retries": "3"}
    ((status, _),) = through(envoy, [("/rank", ask)], backend=backend)
    assert (status, len(backend.requests)) == (503, 1)


def test_a_request_keeps_its_id_or_gets_one(envoy):
    backend = Backend("v1")
    own = "8d3f4f7e-6e4a-4a6f-9b1c-0123456789ab"
    answers = through(envoy, [("/rank", {"x-request-id": own}), ("/rank", {})], backend=backend)
    seen = [headers["x-request-id"] for _, headers in backend.requests]
    assert seen[0] == own
    assert len(seen[1]) == 36
    assert [headers["x-request-id"] for _, headers in answers] == seen


def test_nothing_listens_beyond_loopback(envoy):
    for port in (envoy.admin_port, envoy.route_port):
        connection = HTTPConnection("127.0.0.2", port, timeout=2)
        with pytest.raises(ConnectionRefusedError):
            connection.connect()


def test_before_any_route_requests_are_told_that_nothing_serves(envoy):
    connection = HTTPConnection("127.0.0.1", envoy.route_port, timeout=5)
    connection.request("POST", "/rank", b"{}")
    response = connection.getresponse()
    assert response.status == 503
    assert "no version of ctr" in json.loads(response.read())["error"]
    connection.close()
    assert envoy.router.in_force() is None


def test_outcomes_go_to_the_feedback_server(tmp_path):
    outcomes, v1 = Backend("outcomes"), Backend("v1")

    async def scenario():
        async with served(outcomes, v1) as (feedback, address):
            envoy = Envoy(tmp_path, feedback=feedback)
            try:
                envoy.router.route({Arm.STABLE: address}, Weights())
                async with envoy.client() as client:
                    for path in ("/feedback", "/feedbacks"):
                        async with client.post(path, data=b"{}") as response:
                            assert response.status == 200
            finally:
                envoy.stop()

    asyncio.run(scenario())
    assert [path for path, _ in outcomes.requests] == ["/v1/outcomes"]
    assert [path for path, _ in v1.requests] == ["/feedbacks"]


def test_another_process_finds_the_router_by_its_folder(envoy, tmp_path):
    envoy.router.route({Arm.STABLE: "127.0.0.1:9"}, Weights(mirror=0.0))
    assert EnvoyFileRouter(tmp_path).in_force() == Weights()


def test_a_stopped_envoy_takes_no_change_and_comes_back_with_the_last_one(envoy):
    endpoints = {Arm.STABLE: "127.0.0.1:9", Arm.CANARY: "127.0.0.1:10"}
    before = Weights(stable=0.6, canary=0.4)
    envoy.router.route(endpoints, before)
    envoy.stop()
    assert not ready(envoy.admin_port)
    assert envoy.router.in_force() is None
    with pytest.raises(PlatformError, match="does not answer"):
        envoy.router.route(endpoints, Weights())
    assert envoy.router.weights() == before
    envoy.start()
    assert envoy.router.in_force() == before


def test_a_folder_without_a_bootstrap_is_refused(tmp_path):
    with pytest.raises(PlatformError, match="start the platform first"):
        EnvoyFileRouter(tmp_path / "nowhere")


def test_the_share_of_copies_is_what_was_asked_for_while_live_traffic_is_split(envoy):
    v1, v2 = Backend("v1"), Backend("v2")

    async def scenario():
        async with served(v1, v2) as (stable, canary):
            weights = Weights(stable=0.9, canary=0.1, mirror=0.2)
            envoy.router.route({Arm.STABLE: stable, Arm.CANARY: canary}, weights)
            return await under_load(envoy, lambda: time.sleep(4))

    answers, lost = asyncio.run(scenario())
    n = answers.total()
    assert lost == 0
    assert abs(v2.arms["shadow"] - 0.2 * n) < 5 * math.sqrt(0.2 * 0.8 * n)
    assert abs(v2.arms["canary"] - 0.1 * n) < 5 * math.sqrt(0.1 * 0.9 * n)
