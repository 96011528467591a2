"""Outcomes on a real cluster: told through the Gateway, joined by the service's collector, and decided by."""

import asyncio
import base64
import json
from collections import Counter

import aiohttp
import pytest

from cluster_release import declared, runs, serving, spoil, traffic, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

WINDOW_S = 4
SLOW = {"latencyP99Ms": 2_000, "negligibleLatencyMs": 2_000}  # nobody goes home for what a busy machine does
WATCHED = {"labels": "watched", "startWeight": 0.5, "bakeS": 120, "margin": 0.05}


class CollectorPod:
    """The collector of a service, as a person sees it."""

    def __init__(self, kubectl, forward, namespace, name):
        self._kubectl, self.forward, self.namespace, self.name = kubectl, forward, namespace, name

    def until(self, condition):
        self._kubectl("wait", f"--for={condition}", f"pod/{self.name}-0", "-n", self.namespace, "--timeout=120s")

    def kill(self):
        self._kubectl("delete", f"pod/{self.name}-0", "-n", self.namespace, "--force", "--grace-period=0")
        self.until("create")
        self.until("condition=Ready")

    @property
    def feedback_token(self):
        secret = ("secret", self.name, "-n", self.namespace)
        told = json.loads(self._kubectl("get", *secret, "-o", "json").stdout)
        return base64.b64decode(told["data"]["feedback-token"]).decode()

    async def outcomes(self):
        """By what became of them."""
        with self.forward(f"svc/{self.name}", 8090) as url:
            async with aiohttp.ClientSession() as session, session.get(f"{url}/v1/summary") as answer:
                told = await answer.json()
        counts = Counter({"pending": told["pending"]})
        for tally in told["tallies"]:
            counts[tally["result"]] += tally["outcomes"]
        return counts


@pytest.fixture
def collector(service, kubectl, forward, installed):
    """The collector that the operator runs for a service, which is declared by this."""
    service.apply(**declared(**WATCHED) | {"slo": SLOW, "attributionWindowS": WINDOW_S})
    collector = CollectorPod(kubectl, forward, installed, f"{service.name}-collector")
    collector.until("create")
    collector.until("condition=Ready")
    return collector


@runs
async def test_outcomes_bring_a_version_home_that_misjudges_though_their_collector_was_killed(
    service, collector, market, gateway, blind
):
    async with traffic(market, gateway, service, collector.feedback_token) as flow:
        await serving(service, flow, 1)
        service.wish(blind)
        await until(lambda: service.status.phase == "ramp")
        await asyncio.to_thread(collector.kill)
        assert service.status.phase == "ramp"
        await spoil(collector.forward, service.pods(blind), {"constant_score": 0.5})
        await until(lambda: service.status.phase == "serving")
    assert service.status.champion == 1
    assert service.status.sentence.startswith("Rolled back: where both versions scored a request")
    counts = await collector.outcomes()
    assert counts["joined"] + counts["late"] == flow.clicks_sent
    assert counts["joined"] > 0


@runs
async def test_the_route_takes_outcomes_from_those_who_know_the_token_and_leads_nowhere_else(
    service, collector, gateway
):
    opened = {"authorization": f"Bearer {collector.feedback_token}"}
    outcome = [{"request_id": "nobody-asked", "label": 1, "time_s": 1.0}]

    async def answered(method, path, headers=opened):
        async with aiohttp.ClientSession(headers={"host": service.hostname}) as session:
            asked = session.request(method, f"{gateway}{path}", json=outcome, headers=headers)
            async with asked as answer:
                return answer.status

    await until(lambda: service.status.champion == 1)
    assert await answered("POST", "/feedback") == 200
    for headers in ({}, {"authorization": "Bearer guessed"}):
        assert await answered("POST", "/feedback", headers) == 401
    for path in ("/v1/outcomes", "/v1/summary", "/feedback/", "/feedback/../v1/summary"):
        assert await answered("GET", path) == 404


def test_the_operator_can_make_tokens_and_read_none(kubectl, installed):
    account = f"system:serviceaccount:{installed}:perch-operator"

    def may(verb):
        words = ("auth", "can-i", verb, "secrets", "-n", installed, "--as", account)
        return kubectl(*words, check=False).stdout.strip() == "yes"

    assert may("create")
    assert not any(map(may, ("get", "list", "watch", "patch", "update", "delete")))


def test_what_collects_outcomes_goes_with_its_service(service, collector, kubectl, installed):
    kubectl("delete", "modelservice", service.name, "-n", installed, "--timeout=60s")
    name = collector.name
    left = (f"statefulset/{name}", f"service/{name}", f"secret/{name}", f"pvc/{name}")
    for one in (*left, f"httproute/{service.name}.feedback"):
        kubectl("wait", "--for=delete", one, "-n", installed, "--timeout=120s")
