"""The probe on a real gateway: it lets our route pass, and finds that KServe 0.20 routes nothing to its canaries."""

import json
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from lightkube import Client, KubeConfig

from cluster_release import runs, until
from perch.adapters.cluster.objects import HTTPRoute
from perch.adapters.traffic.gateway import GatewayRouter, Route
from perch.adapters.traffic.inference_service import InferenceServiceRouter
from perch.adapters.traffic.knative import KNATIVE
from perch.adapters.traffic.kserve_canary import KSERVE_CANARY
from perch.adapters.traffic.probe import Caller, ProbedRouter
from perch.core.types import Arm, Weights
from perch.errors import PlatformError

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

SETTLING_S = 10.0
ASKED = Weights(stable=0.8, canary=0.2)


def allowed():
    """The lease is not what is tested."""


@pytest.fixture(scope="module")
def namespace(kubectl):
    """Two versions in one InferenceService that is ready."""
    namespace = f"perch-test-{uuid4().hex[:6]}"
    kubectl("create", "namespace", namespace)
    try:
        kubectl("apply", "-n", namespace, "-f", Path(__file__).with_name("split.yaml"))
        kubectl("wait", "-n", namespace, "--for=condition=Ready", "inferenceservice/split", "--timeout=180s")
        kubectl("wait", "-n", namespace, "--for=condition=Available", "deployment/split-v2-predictor", "--timeout=60s")
        yield namespace
    finally:
        kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.fixture
def found(kubectl, namespace):
    return lambda: json.loads(kubectl("get", "-n", namespace, "inferenceservice", "split", "-o", "json").stdout)


@pytest.fixture
def client(kubeconfig):
    client = Client(KubeConfig.from_file(kubeconfig), field_manager="perch")
    yield client
    client.close()


@pytest.fixture
def endpoints(namespace):
    return {
        Arm.STABLE: f"split-predictor.{namespace}:80",
        Arm.CANARY: f"split-v2-predictor.{namespace}:80",
    }


def probed(router, gateway, hostname):
    versions = {"split-predictor": "1", "split-v2-predictor": "2"}
    seen = []

    def ask(n):
        seen.append(Caller(gateway, hostname)(n))
        return seen[-1]

    return ProbedRouter(router, ask, lambda endpoint: versions[endpoint.partition(".")[0]], settling_s=SETTLING_S), seen


def test_the_split_of_our_own_route_is_seen(namespace, client, endpoints, gateway, found, measured):
    of, name = found(), f"split-{namespace}"
    owner = {"apiVersion": of["apiVersion"], "kind": of["kind"], "name": "split", "uid": of["metadata"]["uid"]}
    route = Route(name, namespace, "kserve/kserve-ingress-gateway", f"{name}.perch")
    router, seen = probed(GatewayRouter(client, route, owner=owner, may_write=allowed), gateway, route.hostname)
    router.route(endpoints, ASKED)
    assert router.weights() == ASKED
    counted = sum(seen[1:], seen[0])
    measured("answers by version of 20 % asked for", dict(counted))
    assert 0.1 < counted["2"] / counted.total() < 0.4
    client.delete(HTTPRoute, name, namespace=namespace)


@runs
async def test_the_canary_of_kserve_0_20_is_found_to_get_nothing(
    namespace, client, endpoints, gateway, found, measured
):
    hostname = urlsplit(found()["status"]["url"]).hostname
    inner = InferenceServiceRouter(client, "split", namespace, KSERVE_CANARY, may_write=allowed)
    router, seen = probed(inner, gateway, hostname)
    router.route(endpoints, Weights())
    await until(lambda: Caller(gateway, hostname)(1)["1"] == 1)
    with pytest.raises(PlatformError, match="The split does not happen") as refused:
        router.route(endpoints, ASKED)
    measured("the sentence", refused.value)
    assert sum(seen[1:], seen[0]).keys() == {"1"}
    assert router.weights() == Weights()
    assert [one["trafficPercent"] for one in found()["spec"]["canary"]] == [0]


def test_the_percent_that_only_knative_follows_is_refused_in_standard_mode(namespace, client, endpoints, found):
    router = InferenceServiceRouter(client, "split", namespace, KNATIVE, may_write=allowed)
    with pytest.raises(PlatformError, match="In Standard mode there is none"):
        router.route(endpoints, ASKED)
    assert "canaryTrafficPercent" not in found()["spec"]["predictor"]
