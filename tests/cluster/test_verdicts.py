"""Each fault of the demonstration on a real cluster, and how its rollout ends."""

import asyncio

import pytest

from cluster_release import declared, released, runs, serving, spoil, traffic, until
from perch.adapters.registry.port import Role
from perch.demo.faults import CONSTANT, ERRORS, SILENCE, SKEW

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

LATENCY = {"latency_ms": 200}


async def broken(service, flow, forward, version, faults):
    """Release a version that breaks as soon as it runs; what clients saw from then on."""
    service.wish(version)
    await until(lambda: service.status.canary == version)
    await spoil(forward, service.pods(version), faults)
    seen = flow.start_tally()
    await until(lambda: service.status.phase == "serving")
    await seen.settled()
    return seen


@pytest.mark.parametrize(
    ("faults", "cause"),
    [
        (ERRORS, "Rolled back: the canary failed "),
        (LATENCY, "Rolled back: the canary was slower than "),
        (CONSTANT, "Rolled back: the canary gave scores "),
        (SKEW, "Rolled back: the canary gave scores "),
        (
            SILENCE,
            "Rolled back: the canary ",
        ),  # is silent, or failed what the gateway gave up: whichever is clear first
    ],
    ids=["errors", "latency", "constant", "skew", "silence"],
)
def test_a_fault_is_found_in_copies_of_requests_and_no_user_sees_it(
    service, market, gateway, forward, faults, cause, measured
):
    @runs
    async def story():
        service.apply(**declared(shadowS=180))
        async with traffic(market, gateway, service) as flow:
            await serving(service, flow, 1)
            seen = await broken(service, flow, forward, 2, faults)
        assert service.status.sentence.startswith(cause), service.status.sentence
        assert service.status.champion == 1
        assert seen.lost == 0
        assert released(seen).keys() == {1}
        measured("sentence", service.status.sentence)

    story()


@runs
async def test_a_silent_canary_in_live_traffic_is_given_up(service, market, gateway, forward, measured):
    service.apply(**declared(shadow=False))
    async with traffic(market, gateway, service) as flow:
        await serving(service, flow, 1)
        seen = await broken(service, flow, forward, 2, SILENCE)
        await asyncio.sleep(5)
    # The gateway's clients give up before the split is proven wrong, and a request that is given up has failed.
    assert service.status.sentence.startswith("Rolled back: the canary ")
    assert service.status.champion == 1
    measured("requests that nobody answered", seen.lost)
    assert seen.lost <= 12


@runs
async def test_without_requests_nothing_is_decided_and_the_weight_stays(service, market, gateway):
    service.apply(**declared(shadow=False))
    async with traffic(market, gateway, service) as flow:
        await serving(service, flow, 1)
    service.wish(2)
    await until(lambda: service.status.phase == "ramp")
    weight = service.status.weight
    await asyncio.sleep(15)
    assert service.status.sentence == "No data: no requests anywhere."
    assert (service.status.phase, service.status.weight) == ("ramp", weight)


@pytest.fixture
def promoted(service, registry):
    """A service of which the registry says that version 2 was promoted before."""
    registry.assign("ad-clicks", Role.CHAMPION, 2)
    return service


@runs
async def test_when_champion_and_canary_both_fail_the_baseline_takes_over(promoted, service, market, gateway, forward):
    service.apply(**declared(shadow=False, baselineShare=0.05, startWeight=0.3), baseline=1)
    async with traffic(market, gateway, service) as flow:
        await serving(service, flow, 2)
        service.wish(3)
        await until(lambda: service.status.phase == "ramp")
        for version in (2, 3):
            await spoil(forward, service.pods(version), {"error_rate": 0.2})
        await until(lambda: service.status.champion == 1)
        after = flow.start_tally()
        await asyncio.sleep(10)
        await after.settled()
    assert "baseline" in service.status.sentence
    assert released(after)[1] > 0.95 * sum(released(after).values())
    assert after.lost == 0
