"""What a service is made of in a cluster: it is taken over, taken back, and let go of."""

import asyncio
from types import SimpleNamespace

import pytest

from fake_cluster import NAMESPACE, FakeCluster, accept_routes, run_versions
from perch.adapters.cluster.seen import Seen
from perch.adapters.labels.collector_resources import Volume
from perch.adapters.registry.memory import MemoryRegistry
from perch.core.types import Arm, Weights
from perch.operator import assembly
from perch.operator.assembly import Options, Parts
from perch.settings import ModelService, Spec
from service_world import register

OWNER = {"apiVersion": "perch.dev/v1alpha1", "kind": "ModelService", "name": "ads", "uid": "u"}


@pytest.fixture
def cluster():
    return FakeCluster(accept_routes, run_versions)


@pytest.fixture
def operator(cluster, tmp_path):
    registry = MemoryRegistry()
    for number in (1, 2):
        register(registry, tmp_path, number)
    options = Options(
        image="perch-serving:1",
        registry_url="http://mlflow",
        ledgers=tmp_path / "ledgers",
        namespace="perch",
        holder="a",
        watched=(NAMESPACE,),
        token_secret=None,
        outcomes=Volume("1Gi", None),
    )
    seen = Seen.of(cluster.client, NAMESPACE)
    return SimpleNamespace(
        options=options,
        registry=registry,
        client=cluster.client,
        blocking=cluster.blocking,
        lease=SimpleNamespace(check=lambda: None),
        say_of=lambda *_: lambda _: None,
        meters=SimpleNamespace(tell_drift=lambda *_: None),
        seen=lambda _: seen,
    )


def of(operator):
    return Parts(operator, ModelService(spec=Spec(model="ad-clicks")), NAMESPACE, OWNER)


def test_who_takes_the_traffic_back_leaves_nothing_that_goes_on(cluster, operator):
    async def story():
        keeping = asyncio.create_task(operator.seen(NAMESPACE).keep())
        parts = of(operator)
        await parts.adopt(renew=False)
        for version in (1, 2):
            await parts._fleet.start(version)
        endpoints = parts._fleet.endpoints()
        arms = {Arm.STABLE: endpoints[1], Arm.CANARY: endpoints[2]}
        await asyncio.to_thread(parts._router.route, arms, Weights(stable=0.7, canary=0.3))
        await parts.retreat(1)
        await parts.close()
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        return parts._router.weights(), {task.get_coro().__name__ for task in left}

    weights, left = asyncio.run(story())
    assert weights == Weights()
    assert left == set()


def test_what_happens_to_a_service_goes_to_the_log_and_to_who_wants_to_be_told(operator, monkeypatch, caplog):
    monkeypatch.setattr(assembly, "AsyncClient", lambda **_: None)
    monkeypatch.setattr(assembly, "Client", lambda **_: None)
    monkeypatch.setattr(assembly.Seen, "of", lambda *_: None)
    caplog.set_level("INFO")
    told = []
    webhook = SimpleNamespace(tell=lambda *one: told.append(one))
    for given in (webhook, None):
        assembly.Operator(operator.options, None, given).say_of("shop", "ads")("Rollout v3-1 has ended.")
    assert told == [("shop/ads: Rollout v3-1 has ended.", {"service": "ads", "namespace": "shop"})]
    assert caplog.text.count("shop/ads: Rollout v3-1 has ended.") == 2
