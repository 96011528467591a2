"""What tests of releases on a cluster share: traffic through the Gateway, faults, and waiting."""

import asyncio
import functools
import time
from contextlib import asynccontextmanager

import aiohttp

from perch.demo.traffic import Traffic

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
    """A spec of the reference model."""
    return {"model": "ad-clicks", "slo": {"latencyP99Ms": 100}, "policy": POLICY | policy, "cluster": CLUSTER}


@asynccontextmanager
async def traffic(market, gateway, service, feedback_token=""):
    """The market at the service's route; it clicks where it has the token."""
    flow = Traffic(market, gateway, feedback_token, rps=RPS, slo_latency_ms=100.0, host=service.hostname)
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
    """Wait until a version is the champion and answers."""
    await until(lambda: service.status.champion == version)
    tally = flow.start_tally()
    await until(lambda: tally.versions[version].requests > 20)
    flow.start_tally()


async def spoil(forward, pods, faults):
    """Switch faults on in pods."""
    for pod in pods:
        with forward(pod, 8080) as url:
            async with (
                aiohttp.ClientSession() as session,
                session.put(f"{url}/faults", json=faults, headers=OPEN) as answer,
            ):
                assert answer.ok, await answer.text()


def released(tally):
    """Requests by the version that answered."""
    return {version: answers.requests for version, answers in tally.versions.items()}
