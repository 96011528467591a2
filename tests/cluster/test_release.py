"""Releases on a real cluster, judged by the answers that a client gets through the Gateway."""

import asyncio

import pytest

from cluster_release import declared, released, runs, serving, spoil, traffic, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


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


@pytest.mark.parametrize("weight", [0.01, 0.3])
@runs
async def test_a_challenger_that_fails_goes_home_and_few_users_see_it(
    service, market, gateway, forward, measured, weight
):
    service.apply(**declared(shadow=False, startWeight=weight))
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
    measured("bad responses", seen.versions[3].failed)
    measured("seconds from the first one to the end", round(took_s, 1))


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
