"""What the HTTPRoute of a service says, and what is read back from it."""

import pytest

from perch.adapters.traffic.gateway import Route, _refusal, rule, weights_of
from perch.adapters.traffic.shares import WHOLE, checked
from perch.core.types import Arm, Weights

ENDPOINTS = {
    Arm.BASELINE: "ads-v1.shop:80",
    Arm.STABLE: "ads-v2.shop:80",
    Arm.CANARY: "ads-v3.shop:80",
}
ROUTE = Route("ads", "shop", "kserve/kserve-ingress-gateway", "ads.shop.perch")


def routed(weights, endpoints=ENDPOINTS):
    units = checked(endpoints, weights)
    manifest = ROUTE.manifest
    manifest["spec"]["rules"] = [rule(endpoints, units, round(weights.mirror * WHOLE))]
    return manifest


@pytest.mark.parametrize(
    "weights",
    [
        Weights(),
        Weights(baseline=0.01, stable=0.97, canary=0.02, mirror=0.5),
        Weights(baseline=0.0, stable=0.5, canary=0.5, mirror=1.0),
    ],
)
def test_the_weights_are_read_back_as_they_were_written(weights):
    assert weights_of(routed(weights)) == weights


def test_each_arm_is_a_backend_of_its_own_that_stamps_its_name():
    backends = routed(Weights(stable=0.75, canary=0.25))["spec"]["rules"][0]["backendRefs"]
    assert [(one["name"], one["port"], one["weight"]) for one in backends] == [
        ("ads-v2", 80, 1),
        ("ads-v2", 80, 750_000),
        ("ads-v3", 80, 250_000),
    ]
    stamps = [one["filters"][0]["requestHeaderModifier"]["set"] for one in backends]
    assert stamps == [[{"name": "x-perch-arm", "value": arm}] for arm in ("baseline", "stable", "canary")]


@pytest.mark.parametrize("weights", [Weights(), Weights(baseline=1.0, stable=0.0), Weights(stable=0.02, canary=0.98)])
def test_an_arm_without_a_share_stays_in_the_route_and_leads_where_most_of_the_traffic_goes(weights):
    backends = routed(weights)["spec"]["rules"][0]["backendRefs"]
    main = max(backends, key=lambda one: one["weight"])
    assert len(backends) == 3
    for one, share in zip(backends, (weights.baseline, weights.stable, weights.canary), strict=True):
        assert one["weight"] == (round(1_000_000 * share) or 1)
        assert share or one["name"] == main["name"]


def test_a_route_needs_no_more_than_the_champion():
    backends = routed(Weights(), {Arm.STABLE: "ads-v2.shop:80"})["spec"]["rules"][0]["backendRefs"]
    assert {one["name"] for one in backends} == {"ads-v2"}


def test_only_the_paths_of_predictions_lead_to_the_pods():
    matches = routed(Weights())["spec"]["rules"][0]["matches"]
    assert [(one["path"]["type"], one["path"]["value"]) for one in matches] == [
        ("Exact", "/rank"),
        ("PathPrefix", "/v1"),
        ("PathPrefix", "/v2"),
        ("Exact", "/explain"),
    ]


def test_a_client_gives_the_gateways_proxies_no_orders():
    removal, *_ = routed(Weights(mirror=0.25))["spec"]["rules"][0]["filters"]
    removed = removal["requestHeaderModifier"]["remove"]
    assert all(name.startswith("x-envoy-") for name in removed)
    assert {"x-envoy-retry-on", "x-envoy-max-retries", "x-envoy-upstream-rq-timeout-ms"} < set(removed)
    assert len(removed) <= 16  # more are refused


def test_copies_go_to_the_canarys_port_for_copies():
    _, mirror = routed(Weights(mirror=0.25))["spec"]["rules"][0]["filters"]
    assert mirror["requestMirror"] == {
        "backendRef": {"name": "ads-v3", "port": 81},
        "fraction": {"numerator": 2_500, "denominator": 10_000},
    }
    assert not [one for one in routed(Weights())["spec"]["rules"][0]["filters"] if one["type"] == "RequestMirror"]


def test_the_route_hangs_on_the_declared_gateway_under_the_services_host():
    spec = routed(Weights())["spec"]
    assert spec["parentRefs"] == [{"namespace": "kserve", "name": "kserve-ingress-gateway"}]
    assert spec["hostnames"] == ["ads.shop.perch"]


def status(accepted="True", resolved="True", generation=3, message=""):
    found = {"reason": "R", "message": message, "observedGeneration": generation}
    conditions = [
        {"type": "Accepted", "status": accepted, **found},
        {"type": "ResolvedRefs", "status": resolved, **found},
    ]
    return {"status": {"parents": [{"conditions": conditions}]}}


def test_a_route_is_accepted_when_the_controller_has_seen_this_generation_and_found_all_backends():
    assert _refusal(status(), 3) is None
    assert _refusal({}, 3) == "its condition Accepted is not there yet"
    assert _refusal(status(generation=2), 3) == "its condition Accepted is not there yet"
    assert _refusal(status(resolved="False", message="Service ads-v3 not found"), 3) == "R: Service ads-v3 not found"
