"""What a route promises, counted by a client of the Gateway."""

import asyncio
import random
from types import SimpleNamespace

import pytest
from lightkube import Client, KubeConfig
from scipy.stats import binomtest

from cluster_release import declared, released, runs, serving, traffic, until
from perch.adapters.cluster.objects import HTTPRoute, ModelServiceObject
from perch.adapters.registry.port import Role
from perch.adapters.traffic.gateway import GatewayRouter, Route
from perch.core.types import Arm, Weights
from perch.operator.wish import owner_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

UNLIKELY = 1e-5
CHANGES = 100


@runs
async def test_clients_are_answered_by_each_arm_as_often_as_the_status_says(service, market, gateway, measured):
    service.apply(**declared(shadow=False, startWeight=0.2, maxWeight=0.2))
    async with traffic(market, gateway, service) as flow:
        await serving(service, flow, 1)
        service.wish(2)
        await until(lambda: service.status.weight == "20 %")
        service.ask("pause")
        await asyncio.sleep(5)
        seen = flow.start_tally()
        await asyncio.sleep(30)
        flow.start_tally()
        await seen.settled()
        assert service.status.weight == "20 %"
        service.ask("rollback")
        await until(lambda: service.status.phase == "serving")
        await asyncio.sleep(3)
        home = flow.start_tally()
        await asyncio.sleep(5)
        await home.settled()
    counts = released(seen)
    measured("requests by version at 20 %", dict(counts))
    assert binomtest(counts[2], sum(counts.values()), 0.2).pvalue > UNLIKELY
    assert released(home).keys() == {1}
    assert seen.lost == home.lost == 0


@runs
async def test_no_request_is_lost_by_a_hundred_changes_of_the_weights(
    service, registry, market, gateway, kubeconfig, installed, measured
):
    registry.assign("ad-clicks", Role.CHAMPION, 2)  # beside the baseline: two versions that are warm, and no rollout
    service.apply(**declared())
    async with traffic(market, gateway, service) as flow:
        await serving(service, flow, 2)
        client = Client(KubeConfig.from_file(kubeconfig), field_manager="perch")
        owner = owner_of(client.get(ModelServiceObject, service.name, namespace=installed))
        split = f"{service.name}-split"
        route = Route(split, installed, "kserve/kserve-ingress-gateway", f"{split}.{installed}.perch")
        router = GatewayRouter(client, route, owner=owner, may_write=lambda: None)
        arms = {arm: f"{service.name}-v{version}.{installed}:80" for arm, version in ((Arm.STABLE, 1), (Arm.CANARY, 2))}
        await asyncio.to_thread(router.route, arms, Weights())
        await asyncio.sleep(2)
        async with traffic(market, gateway, SimpleNamespace(hostname=route.hostname)) as changing:
            for _ in range(CHANGES):
                share = random.choice((0.0, 0.01, 0.1, 0.5, 0.9, 1.0))
                weights = Weights(canary=share, stable=1 - share, mirror=random.choice((0.0, 0.2)))
                await asyncio.to_thread(router.route, arms, weights)
                await asyncio.sleep(random.uniform(0, 0.6))
            await changing.tally.settled()
        client.delete(HTTPRoute, split, namespace=installed)
        client._client._client.close()
    measured("requests during the changes", changing.sent)
    assert changing.lost == 0
    assert sum(answers.failed for answers in changing.tally.versions.values()) == 0
    assert min(released(changing.tally).values()) > 100
