"""What people get wrong on a real cluster: told in a sentence, while traffic stays where it was safe."""

import asyncio
import json

import pytest

from cluster_release import declared, released, runs, serving, traffic, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@runs
async def test_a_baseline_that_does_not_exist_is_told_and_the_champion_serves_on(service, market, gateway):
    service.apply(**declared())
    async with traffic(market, gateway, service) as flow:
        await serving(service, flow, 1)
        service.apply(**declared(), baseline=77)
        await until(lambda: "has no version 77" in service.status.conditions["Ready"])
        seen = flow.start_tally()
        await asyncio.sleep(5)
        await seen.settled()
        assert released(seen).keys() == {1}
        assert seen.lost == 0
        service.apply(**declared(), baseline=1)
        await until(lambda: service.status.conditions["Ready"] == "The champion serves.")


@runs
async def test_a_route_that_somebody_else_owns_is_left_alone_and_told(service, market, gateway, kubectl, installed):
    gateway_ref = {"name": "kserve-ingress-gateway", "namespace": "kserve"}
    theirs = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": service.name, "namespace": installed},
        "spec": {"parentRefs": [gateway_ref], "hostnames": ["theirs.example.com"]},
    }
    kubectl("create", "-f", "-", text=json.dumps(theirs))
    service.apply(**declared())
    await until(lambda: "was not made by Perch" in service.status.conditions.get("Ready", ""))
    asked = kubectl("get", "httproute", service.name, "-n", installed, "-o", "jsonpath={.spec.hostnames[0]}").stdout
    assert asked == "theirs.example.com"
    kubectl("delete", "httproute", service.name, "-n", installed)
    async with traffic(market, gateway, service) as flow:
        await serving(service, flow, 1)


@runs
async def test_a_weight_that_somebody_edits_by_hand_is_taken_back(
    service, market, gateway, kubectl, installed, measured
):
    service.apply(**declared(shadow=False, startWeight=0.05, maxWeight=0.05))
    async with traffic(market, gateway, service) as flow:
        await serving(service, flow, 1)
        service.wish(2)
        await until(lambda: service.status.weight == "5 %")
        service.ask("pause")
        route = ("httproute", service.name, "-n", installed)
        rules = json.loads(kubectl("get", *route, "-o", "json").stdout)["spec"]["rules"]
        for backend, weight in zip(rules[0]["backendRefs"], (0, 0, 1_000_000), strict=True):
            backend["weight"] = weight
        kubectl("patch", *route, "--type=merge", "-p", json.dumps({"spec": {"rules": rules}}))

        def weights():
            told = kubectl("get", *route, "-o", "jsonpath={.spec.rules[0].backendRefs[*].weight}").stdout
            return [int(weight) for weight in told.split()]

        measured(
            "seconds until the route is ours again", round(await until(lambda: weights() == [1, 950_000, 50_000]), 1)
        )
        kubectl("delete", *route)
        await until(lambda: kubectl("get", *route, check=False).returncode == 0)
        await asyncio.sleep(3)
        seen = flow.start_tally()
        await asyncio.sleep(5)
        await seen.settled()
    assert seen.lost == 0
    assert released(seen)[2] < 0.2 * sum(released(seen).values())


@runs
async def test_a_version_that_somebody_deletes_is_made_again(service, market, gateway, kubectl, installed):
    service.apply(**declared())
    async with traffic(market, gateway, service) as flow:
        await serving(service, flow, 1)
        kubectl("delete", "inferenceservice", f"{service.name}-v1", "-n", installed)
        await until(lambda: service.status.conditions["Ready"].startswith("No pod of version 1"))
        await until(lambda: service.status.conditions["Ready"] == "The champion serves.")
        await serving(service, flow, 1)


@runs
async def test_a_wish_that_changes_in_mid_rollout_is_taken_on_after_it(service, market, gateway):
    service.apply(**declared(shadowS=20))
    async with traffic(market, gateway, service) as flow:
        await serving(service, flow, 1)
        service.wish(2)
        await until(lambda: service.status.phase == "shadow")
        service.wish(3)
        await asyncio.sleep(5)
        assert service.status.canary == 2
        service.ask("rollback")
        await until(lambda: service.status.canary == 3)
    assert service.status.champion == 1


@runs
async def test_a_service_that_is_deleted_in_mid_rollout_leaves_nothing(service, market, gateway, kubectl, installed):
    service.apply(**declared())
    async with traffic(market, gateway, service) as flow:
        await serving(service, flow, 1)
        service.wish(2)
        await until(lambda: service.status.phase == "shadow")
    kubectl("delete", "modelservice", service.name, "-n", installed, "--timeout=60s")
    kinds = "inferenceservices,httproutes,services,deployments,pods"
    selector = f"perch.dev/service={service.name}"
    await until(lambda: kubectl("get", kinds, "-n", installed, "-l", selector, "-o", "name").stdout == "")
