"""Releases on a real cluster, judged by the answers that a client gets through the Gateway."""

import asyncio
import functools
import time
from contextlib import asynccontextmanager

import aiohttp
import pytest

from perch.demo.traffic import Traffic
from perch.world.market import Market

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

RPS = 60.0
POLICY = {
    "shadowS": 10,
    "rampIntervalS": 2,
    "bakeS": 20,
    "guardS": 20,
    "margin": 0.02,
    "rollbackLimit": 100,
}
OPEN = {"authorization": "Bearer for-tests-only"}
CLUSTER = {"cpu": "100m", "memory": "512Mi"}


def runs(story):
    """Make a test of a coroutine."""

    @functools.wraps(story)
    def test(*given, **named):
        asyncio.run(story(*given, **named))

    return test


def declared(**policy):
    return {"model": "ad-clicks", "slo": {"latencyP99Ms": 100}, "policy": POLICY | policy, "cluster": CLUSTER}


@pytest.fixture(scope="module")
def market():
    market = Market(0)
    market.log(7, 40_000)  # the users that the models were trained on
    return market


@asynccontextmanager
async def traffic(market, gateway, service):
    flow = Traffic(market, gateway, "", rps=RPS, slo_latency_ms=100.0, host=service.hostname)
    async with flow.flowing():
        yield flow


async def until(condition, timeout_s=180.0):
    """Wait until a condition holds; the seconds that it took."""
    began_s = time.monotonic()
    while not await asyncio.to_thread(condition):
        assert time.monotonic() - began_s < timeout_s, "it did not come to that"
        await asyncio.sleep(0.5)
    return time.monotonic() - began_s


async def serving(service, flow, version):
    await until(lambda: service.status.champion == version)
    tally = flow.start_tally()
    await until(lambda: tally.versions[version].requests > 20)
    flow.start_tally()


async def spoil(forward, pods, faults):
    for pod in pods:
        with forward(pod, 8080) as url:
            async with (
                aiohttp.ClientSession() as session,
                session.put(f"{url}/faults", json=faults, headers=OPEN) as answer,
            ):
                assert answer.ok, await answer.text()


def released(tally):
    return {version: answers.requests for version, answers in tally.versions.items()}


@runs
async def test_a_good_challenger_is_promoted_and_no_request_is_lost(service, market, gateway):
    service.apply(**declared())
    async with traffic(market, gateway, service) as flow:
        await serving(service, flow, 1)
        whole = flow.tally
        service.wish(2)
        await until(lambda: service.status.champion == 2)
        await whole.settled()
        after = flow.start_tally()
        await asyncio.sleep(10)
    assert whole.lost == 0
    assert sum(answers.failed for answers in whole.versions.values()) == 0
    assert min(released(whole)[version] for version in (1, 2)) > 100
    assert released(after)[2] > 0.95 * sum(released(after).values())
    assert "the new version is champion" in service.status.sentence


@runs
async def test_a_challenger_that_fails_goes_home_and_few_users_see_it(
    service, market, gateway, forward, record_property
):
    service.apply(**declared(shadow=False))
    async with traffic(market, gateway, service) as flow:
        await serving(service, flow, 1)
        service.wish(3)
        await until(lambda: service.status.phase == "ramp")
        await spoil(forward, service.pods(3), {"error_rate": 0.05})
        seen = flow.start_tally()
        await until(lambda: seen.versions[3].failed > 0)
        took_s = await until(lambda: service.status.phase == "serving")
        await seen.settled()
    assert service.status.champion == 1
    assert service.status.sentence.startswith("Rolled back: the canary failed ")
    assert seen.lost == 0
    assert seen.versions[3].failed <= 12
    record_property("bad responses", seen.versions[3].failed)
    record_property("seconds from the first one to the end", round(took_s, 1))


@runs
async def test_an_operator_that_is_killed_goes_on_where_it_was(service, market, gateway, kubectl, installed):
    service.apply(**declared())
    async with traffic(market, gateway, service) as flow:
        await serving(service, flow, 1)
        whole = flow.tally
        service.wish(4)
        await until(lambda: service.status.phase == "ramp")
        rollout, killed = service.status.rollout, ("-l", "app.kubernetes.io/name=perch-operator")
        kubectl("delete", "pod", "-n", installed, *killed, "--force", "--grace-period=0")
        await until(lambda: service.status.champion == 4, timeout_s=240.0)
        await whole.settled()
    assert service.status.rollout == rollout
    assert whole.lost == 0


@runs
async def test_a_version_that_nobody_knows_is_told_in_a_condition_and_the_champion_serves_on(service, market, gateway):
    service.apply(**declared())
    async with traffic(market, gateway, service) as flow:
        await serving(service, flow, 1)
        service.wish(99)
        await until(lambda: "has no version 99" in service.status.conditions.get("Accepted", ""))
        tally = flow.start_tally()
        await asyncio.sleep(3)
        await tally.settled()
    assert released(tally).keys() == {1}
    assert tally.lost == 0
