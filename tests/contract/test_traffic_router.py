"""What every `TrafficRouter` does: the real Envoy, its twin in memory, an HTTPRoute, and KServe's canaries (gateway
and KServe are fakes here) through the same checks. What KServe's cannot do, copies and a third arm, is asked of the
others only."""

import asyncio
import math
from collections import Counter
from random import Random

import pytest

from envoy_bench import Backend, Envoy, served
from fake_cluster import NAMESPACE, FakeCluster, accept_routes
from fake_kserve import KnativeKserve, StandardKserve
from perch.adapters.traffic.gateway import GatewayRouter, Route
from perch.adapters.traffic.inference_service import InferenceServiceRouter
from perch.adapters.traffic.knative import KNATIVE
from perch.adapters.traffic.kserve_canary import KSERVE_CANARY
from perch.adapters.traffic.memory import MemoryRouter
from perch.adapters.traffic.probe import ProbedRouter
from perch.core.types import Arm, Weights
from perch.errors import PlatformError

REQUESTS = 2_000


class MemorySplit:
    """Requests through the twin."""

    def __init__(self):
        self.router = MemoryRouter(seed=1)
        self.endpoints = {arm: f"{arm}:1" for arm in (Arm.BASELINE, Arm.STABLE, Arm.CANARY)}

    def send(self, n):
        return Counter(arm for _ in range(n) for arm in self.router.send())

    def close(self):
        pass


class ProbedSplit(MemorySplit):
    """The twin behind a probe, which asks it."""

    def __init__(self):
        super().__init__()
        self._memory = self.router
        self.router = ProbedRouter(self._memory, self._ask, lambda endpoint: endpoint, settling_s=0.0)

    def send(self, n):
        return Counter(arm for _ in range(n) for arm in self._memory.send())

    def _ask(self, n):
        return Counter(f"{self._memory.send()[0]}:1" for _ in range(n))


class GatewaySplit:
    """Requests through a gateway that does as the HTTPRoute says."""

    def __init__(self):
        self._cluster, self._random = FakeCluster(accept_routes), Random(1)
        self.endpoints = {arm: f"ads-{arm}.{NAMESPACE}:80" for arm in (Arm.BASELINE, Arm.STABLE, Arm.CANARY)}
        route = Route("ads", NAMESPACE, "kserve/gateway", "ads.perch")
        owner = {"apiVersion": "perch.dev/v1alpha1", "kind": "ModelService", "name": "ads", "uid": "u"}
        self.router = GatewayRouter(self._cluster.blocking, route, owner=owner, may_write=lambda: None)

    def send(self, n):
        (rule,) = self._cluster.get("httproutes", "ads")["spec"]["rules"]
        backends = rule["backendRefs"]
        chosen = self._random.choices(backends, [one["weight"] for one in backends], k=n)
        seen = Counter(self._arm(backend) for backend in chosen)
        for mirror in (one["requestMirror"] for one in rule["filters"] if "requestMirror" in one):
            fraction = mirror["fraction"]
            share = fraction["numerator"] / fraction["denominator"]
            seen["shadow"] = sum(self._random.random() < share for _ in range(n))
        return seen

    def _arm(self, backend):
        (stamp,) = backend["filters"][0]["requestHeaderModifier"]["set"]
        assert backend["name"] == f"ads-{stamp['value']}"
        return stamp["value"]

    def close(self):
        pass


class KserveSplit:
    """Requests through a KServe that does as its object says."""

    def __init__(self, kserve, split):
        self._kserve = kserve
        self.endpoints = kserve.endpoints
        self.router = InferenceServiceRouter(kserve, "ads", "shop", split, may_write=lambda: None)

    def send(self, n):
        return self._kserve.send(n)

    def close(self):
        pass


class EnvoySplit:
    """Requests through a real Envoy; backends and client live on an event loop of their own."""

    def __init__(self, folder):
        self._envoy = Envoy(folder)
        self.router = self._envoy.router
        self._loop = asyncio.new_event_loop()
        self._backends = {arm: Backend(arm) for arm in (Arm.BASELINE, Arm.STABLE, Arm.CANARY)}
        self._served = served(*self._backends.values())
        addresses = self._loop.run_until_complete(self._served.__aenter__())
        self.endpoints = dict(zip(self._backends, addresses, strict=True))

    def send(self, n):
        for backend in self._backends.values():
            backend.requests.clear()
        self._loop.run_until_complete(self._send(n))
        return sum((backend.arms for backend in self._backends.values()), Counter())

    async def _send(self, n):
        async with self._envoy.client() as client:
            for _ in range(n // 50):
                await asyncio.gather(*(self._one(client) for _ in range(50)))
        await asyncio.sleep(0.1)

    async def _one(self, client):
        async with client.post("/rank", data=b"{}") as response:
            assert response.status == 200

    def close(self):
        self._loop.run_until_complete(self._served.__aexit__(None, None, None))
        self._loop.close()
        self._envoy.stop()


SPLITS = {
    "memory": lambda _: MemorySplit(),
    "probed": lambda _: ProbedSplit(),
    "envoy": EnvoySplit,
    "gateway": lambda _: GatewaySplit(),
    "kserve-canary": lambda _: KserveSplit(StandardKserve(), KSERVE_CANARY),
    "knative": lambda _: KserveSplit(KnativeKserve(), KNATIVE),
}
of_three_arms = pytest.mark.parametrize("split", [name for name in SPLITS if name != "knative"], indirect=True)
copying = pytest.mark.parametrize("split", ["memory", "probed", "envoy", "gateway"], indirect=True)
of_kserve = pytest.mark.parametrize("split", ["kserve-canary", "knative"], indirect=True)


@pytest.fixture(params=SPLITS)
def split(request, tmp_path):
    split = SPLITS[request.param](tmp_path)
    yield split
    split.close()


def within_binomial_error(count, share, n=REQUESTS):
    return abs(count - share * n) <= 5 * math.sqrt(share * (1 - share) * n)


def test_before_any_route_the_default_weights_are_told(split):
    assert split.router.weights() == Weights()


def test_requests_are_split_by_the_weights(split):
    split.router.route(split.endpoints, Weights(stable=0.75, canary=0.25))
    seen = split.send(REQUESTS)
    assert seen.total() == REQUESTS
    assert within_binomial_error(seen["canary"], 0.25)


@of_three_arms
def test_the_baseline_has_a_share_of_its_own(split):
    split.router.route(split.endpoints, Weights(baseline=0.05, stable=0.7, canary=0.25))
    seen = split.send(REQUESTS)
    assert seen.total() == REQUESTS
    assert within_binomial_error(seen["baseline"], 0.05)
    assert within_binomial_error(seen["stable"], 0.7)
    assert within_binomial_error(seen["canary"], 0.25)


def test_an_arm_without_a_weight_gets_nothing(split):
    split.router.route(split.endpoints, Weights(baseline=0.0, stable=1.0, canary=0.0))
    assert split.send(400) == {"stable": 400}


@copying
def test_a_mirrored_share_is_copied_and_answered_only_once(split):
    split.router.route(split.endpoints, Weights(stable=1.0, mirror=0.3))
    seen = split.send(REQUESTS)
    assert seen["stable"] == REQUESTS
    assert within_binomial_error(seen["shadow"], 0.3)
    assert seen.keys() == {"stable", "shadow"}


@of_kserve
def test_what_cannot_copy_refuses_to_and_changes_nothing(split):
    split.router.route(split.endpoints, Weights(stable=0.75, canary=0.25))
    with pytest.raises(PlatformError, match=r"policy\.shadow"):
        split.router.route(split.endpoints, Weights(stable=0.75, canary=0.25, mirror=0.1))
    assert split.router.weights() == Weights(stable=0.75, canary=0.25)


def test_weights_are_told_as_last_written(split):
    split.router.route(split.endpoints, Weights(stable=0.98, canary=0.02))
    assert split.router.weights() == Weights(stable=0.98, canary=0.02)
    split.router.route(split.endpoints, Weights(stable=0.0, canary=1.0))
    assert split.router.weights() == Weights(stable=0.0, canary=1.0)
    split.router.route(split.endpoints, Weights())
    assert split.router.weights() == Weights()


@copying
def test_a_mirror_is_told_as_last_written(split):
    split.router.route(split.endpoints, Weights(baseline=0.01, stable=0.97, canary=0.02, mirror=0.5))
    assert split.router.weights() == Weights(baseline=0.01, stable=0.97, canary=0.02, mirror=0.5)


@of_three_arms
def test_thirds_add_up_to_the_whole(split):
    split.router.route(split.endpoints, Weights(baseline=1 / 3, stable=1 / 3, canary=1 / 3))
    told = split.router.weights()
    assert math.isclose(told.baseline + told.stable + told.canary, 1)


def test_an_arm_that_is_gone_needs_no_endpoint(split):
    split.router.route(split.endpoints, Weights(stable=0.5, canary=0.5))
    split.router.route({Arm.STABLE: split.endpoints[Arm.STABLE]}, Weights())
    assert split.send(200) == {"stable": 200}


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        (Weights(stable=0.5, canary=0.5), "no endpoint is known for canary"),
        (Weights(mirror=0.1), "no endpoint is known for canary"),
        (Weights(stable=0.9), "add up to 1"),
        (Weights(stable=1.5, canary=-0.5), "within 0 to 1"),
        (Weights(mirror=math.nan), "within 0 to 1"),
    ],
)
def test_an_impossible_split_is_refused_and_changes_nothing(split, weights, told):
    only_stable = {Arm.STABLE: split.endpoints[Arm.STABLE]}
    split.router.route(only_stable, Weights())
    with pytest.raises(PlatformError, match=told):
        split.router.route(only_stable, weights)
    assert split.router.weights() == Weights()
    assert split.send(50) == {"stable": 50}
