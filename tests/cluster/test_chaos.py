"""What a rollout does when something around it dies: the operator, the API server, the gateway, a pod."""

import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import subprocess
import time

import pytest

from cluster_release import declared, released, runs, serving, spoil, traffic, until
from perch.adapters.traffic.gateway import weights_of
from perch.rollout.backtest import backtest
from perch.rollout.ledger import read

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

KILLS = 20
OPERATOR = ("-l", "app.kubernetes.io/name=perch-operator")


class Witness:
    """Looks at route and status, over and over, for traffic where no record says why."""

    def __init__(self, kubectl, namespace, service):
        self._kubectl, self._namespace, self._service = kubectl, namespace, service
        self.looks, self.unexplained = 0, []

    def _recorded(self):
        return float((self._service.status.weight or "0 %").split()[0]) / 100

    def _routed(self):
        told = self._kubectl("get", "httproute", self._service.name, "-n", self._namespace, "-o", "json", check=False)
        if not told.stdout:
            return 0.0
        weights = weights_of(json.loads(told.stdout))
        return weights.canary

    def _look(self):
        """The most that a record allows around the moment of the route, and the route."""
        before, routed, after = self._recorded(), self._routed(), self._recorded()
        return max(before, after), routed

    async def watch(self):
        """A raise is recorded before it is routed, so a route has no more than the record before or after it.

        The record shows two digits.
        """
        while True:
            allowed, routed = await asyncio.to_thread(self._look)
            self.looks += 1
            if routed > 1.06 * allowed + 0.0005:
                self.unexplained.append((allowed, routed))
            await asyncio.sleep(0.1)


class Killer:
    """Kills the operator at random points of a rollout, as often as is left to it."""

    def __init__(self, kubectl, namespace, rng):
        self._kubectl, self._namespace, self._rng = kubectl, namespace, rng
        self.kills = 0

    async def kill_until(self, is_over):
        while not await asyncio.to_thread(is_over):
            await asyncio.sleep(self._rng.uniform(0.2, 8))
            if self.kills < KILLS and not await asyncio.to_thread(is_over):
                await asyncio.to_thread(self._kill)

    def _kill(self):
        there = ("-n", self._namespace, *OPERATOR)
        self._kubectl("delete", "pod", *there, "--force", "--grace-period=0")
        self.kills += 1
        for _ in range(60):
            if self._kubectl("get", "pods", *there, "-o", "name").stdout:
                break
            time.sleep(0.5)
        self._kubectl("wait", "--for=condition=Ready", "pod", *there, "--timeout=90s")


def recorded(kubectl, namespace, service, rollout):
    """The ledger of a rollout."""
    path = f"/var/lib/perch/{namespace}/{service}/rollouts/{rollout}/ledger.jsonl"
    return kubectl("exec", "-n", namespace, "deployment/perch-operator", "--", "cat", path).stdout


@runs
async def test_an_operator_killed_at_twenty_random_points_comes_to_the_same_ends(
    service, market, gateway, kubectl, installed, forward, registry, tmp_path, measured
):
    seed = random.randrange(10**6)
    measured("seed", seed)
    killer, witness = Killer(kubectl, installed, random.Random(seed)), Witness(kubectl, installed, service)
    good, known = registry.fetch("ad-clicks", 3, tmp_path / "good"), registry.get("ad-clicks", 3)
    service.apply(**declared(bakeS=30, guardS=30))
    async with traffic(market, gateway, service) as flow:
        await serving(service, flow, 1)
        whole, champion, ends = flow.tally, 1, [None]
        watching = asyncio.create_task(witness.watch())
        while killer.kills < KILLS:
            is_bad = len(ends) % 2 == 1
            version = (
                2 if is_bad else registry.register("ad-clicks", good, metrics=known.metrics, tags=known.tags).version
            )
            await asyncio.to_thread(registry.quarantine, "ad-clicks", 2, None)
            service.wish(version)
            await until(lambda: service.status.rollout not in {None, ends[-1]})
            if is_bad:
                await spoil(forward, service.pods(2), {"error_rate": 0.03})
            await killer.kill_until(lambda: service.status.phase == "serving")
            champion = champion if is_bad else version
            status = service.status
            assert status.champion == champion, status.sentence
            assert is_bad == status.sentence.startswith("Rolled back: the canary failed ")
            ends.append(status.rollout)
            service.wish(champion)
        watching.cancel()
        await whole.settled()
    assert witness.unexplained == []
    assert whole.lost == 0
    for rollout in ends[1:]:
        ledger = tmp_path / f"{rollout}.jsonl"
        ledger.write_text(recorded(kubectl, installed, service.name, rollout))
        record = read(ledger)
        assert backtest(record, record.attempt.policy).exact
    measured("kills", killer.kills)
    measured("rollouts", len(ends) - 1)
    measured("looks at route and record", witness.looks)
    measured("requests", whole.sent)


@contextlib.contextmanager
def unreachable(kubectl, namespace):
    """The operator's packets to the API server go nowhere; only where the cluster runs on this machine."""
    address = kubectl("get", "pod", "-n", namespace, *OPERATOR, "-o", "jsonpath={.items[0].status.podIP}").stdout
    rule = ("-s", address, "-p", "tcp", "--dport", "6443", "-j", "DROP")
    try:
        subprocess.run(["iptables", "-I", "INPUT", *rule], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("the cluster's packets cannot be dropped from here")
    try:
        yield
    finally:
        subprocess.run(["iptables", "-D", "INPUT", *rule], check=True)


@runs
async def test_while_the_api_server_is_away_nothing_moves_and_then_the_rollout_goes_on(
    service, market, gateway, kubectl, installed
):
    service.apply(**declared(shadow=False, startWeight=0.2, maxWeight=0.2, bakeS=60))
    async with traffic(market, gateway, service) as flow:
        await serving(service, flow, 1)
        service.wish(2)
        await until(lambda: service.status.weight == "20 %")
        rollout = service.status.rollout
        with unreachable(kubectl, installed):
            await asyncio.sleep(5)
            written = service.status
            seen = flow.start_tally()
            await asyncio.sleep(60)
            assert service.status == written
        await seen.settled()
        await until(lambda: service.status.champion == 2, timeout_s=300)
    assert service.status.rollout == rollout
    assert seen.lost == 0
    assert released(seen).keys() == {1, 2}


@runs
async def test_a_gateway_that_is_restarted_brings_no_version_home(service, market, gateway, kubectl, measured):
    service.apply(**declared())
    async with traffic(market, gateway, service) as flow:
        await serving(service, flow, 1)
        service.wish(2)
        await until(lambda: service.status.phase == "ramp")
        proxies = (
            "-n",
            "envoy-gateway-system",
            "-l",
            "gateway.envoyproxy.io/owning-gateway-name=kserve-ingress-gateway",
        )
        kubectl("delete", "pod", *proxies)
        await until(lambda: service.status.champion == 2, timeout_s=300)
    measured("requests lost by the restart of the only proxy", flow.lost)


@runs
async def test_a_canary_whose_pod_dies_again_and_again_is_given_up_in_a_sentence(
    service, market, gateway, kubectl, installed, measured
):
    service.apply(**declared(shadow=False, startWeight=0.2, maxWeight=0.2, bakeS=300))
    async with traffic(market, gateway, service) as flow:
        await serving(service, flow, 1)
        service.wish(2)
        await until(lambda: service.status.weight == "20 %")
        began_s = time.monotonic()
        while service.status.phase != "serving":
            for pod in service.pods(2):
                kubectl("delete", "-n", installed, pod, "--force", "--grace-period=0", check=False)
            await asyncio.sleep(1)
            assert time.monotonic() - began_s < 180
        status = service.status
    assert status.champion == 1
    measured("sentence", status.sentence)
    measured("requests that nobody answered", flow.lost)


def burn():
    while True:
        pass


@runs
async def test_a_processor_that_is_taken_by_others_costs_no_good_version_its_place(service, market, gateway, measured):
    service.apply(**declared() | {"slo": {"latencyP99Ms": 1_000}})
    async with traffic(market, gateway, service) as flow:
        await serving(service, flow, 1)
        service.wish(2)
        await until(lambda: service.status.phase == "shadow")
        burning = [multiprocessing.Process(target=burn, daemon=True) for _ in range(os.cpu_count() or 1)]
        for process in burning:
            process.start()
        await asyncio.sleep(30)
        for process in burning:
            process.kill()
        await until(lambda: service.status.phase == "serving", timeout_s=400)
    measured("sentence", service.status.sentence)
    measured("requests that nobody answered meanwhile", flow.lost)
    assert service.status.champion == 2
