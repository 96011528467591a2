"""The platform with its real processes under live traffic: Envoy, the model servers, the collector, the loop."""

import asyncio
import contextlib
import os
import signal
import threading
import time
from dataclasses import replace

import httpx
import psutil
import pytest

from perch.core.policy import Policy, Slo
from perch.core.types import Action, Arm
from perch.demo.traffic import Traffic
from perch.local.platform import platform
from perch.rollout.backtest import backtest
from perch.rollout.ledger import read
from perch.settings import Metadata, ModelService, Spec
from perch.world.market import Market
from serving_process import free_port

pytestmark = pytest.mark.e2e

RPS = 150.0
SHORT = Policy(shadow_s=1, ramp_interval_s=1, start_weight=0.1, bake_s=3, guard_s=1, margin=0.05, min_requests=100)


class Live:
    """A platform and its traffic on an event loop of their own, so that a test can be a plain function."""

    def __init__(self, registry, folder):
        self.folder = folder
        self.told = []
        spec = Spec(policy=SHORT, slo=Slo(latency_p99_ms=500.0), port=free_port(), attributionWindowS=60)
        self.declaration = ModelService(metadata=Metadata(), spec=spec)
        self.registry = registry
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._open = contextlib.AsyncExitStack()

    def run(self, coroutine, timeout_s=60):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout_s)

    async def _start(self):
        spec = self.declaration.spec
        starting = platform(
            self.declaration, self.registry, self.folder, port=spec.port, allow_faults=True, notify=self.told.append
        )
        self.platform = await self._open.enter_async_context(starting)
        self.traffic = Traffic(
            Market(0), self.platform.route_url, self.platform.feedback_token, rps=RPS, slo_latency_ms=500.0
        )
        await self._open.enter_async_context(self.traffic.flowing())

    def __enter__(self):
        try:
            self.run(self._start())
        except BaseException:
            self.__exit__()
            raise
        time.sleep(3)  # the champion's usual latencies and scores are learnt
        return self

    def __exit__(self, *_):
        self.run(self._open.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def release(self, version, policy=SHORT, **faults):
        self.run(self.platform.service.prepare(version))
        if faults:
            headers = {"authorization": f"Bearer {self.platform.token}"}
            httpx.put(self.platform.fault_url(version), json=faults, headers=headers).raise_for_status()
        self.traffic.start_tally()
        name = self.run(self.platform.service.release(version, policy, time.time()))
        return self.platform.service.ledger_file(name)

    def end(self, timeout_s=60):
        """Wait for the end of the rollout; its status."""
        deadline = time.monotonic() + timeout_s
        while self.platform.service.rolling:
            assert time.monotonic() < deadline, self.platform.service.status()
            time.sleep(0.1)
        time.sleep(1)  # answers in flight
        return self.platform.service.status()

    def process(self, version):
        port = int(self.platform.fleet.endpoints()[version].rpartition(":")[2])
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if {"perch.serving", str(port)} <= set(child.cmdline()):
                    return child
        raise AssertionError(f"version {version} has no process")

    @property
    def champion(self):
        return self.platform.service.status().arms[Arm.STABLE]


@pytest.fixture(scope="module")
def live(memory_registry, tmp_path_factory):
    with Live(memory_registry, tmp_path_factory.mktemp("platform")) as live:
        yield live


def test_a_good_version_is_promoted_and_no_request_is_lost(live):
    ledger = live.release(2)
    status = live.end()
    assert (status.outcome, live.champion) == (Action.PROMOTE, 2), status.sentence
    tally = live.traffic.tally
    assert tally.lost == 0
    assert sum(seen.failed for seen in tally.versions.values()) == 0
    record = read(ledger)
    assert backtest(record, record.attempt.policy).exact


def test_five_percent_errors_go_home_within_ten_bad_responses(live):
    live.release(3, replace(SHORT, shadow=False, start_weight=0.01), error_rate=0.05)
    began_s = time.time()
    status = live.end()
    assert status.outcome is Action.ROLL_BACK, status
    assert "failed" in status.sentence
    tally = live.traffic.tally
    assert sum(seen.requests for seen in tally.versions.values()) > 50 * (time.time() - began_s)
    assert tally.versions[3].failed <= 10
    assert tally.lost == 0
    assert live.registry.get("ad-clicks", 3).quarantine == status.sentence


def test_a_canary_that_is_killed_goes_home(live):
    live.release(4, replace(SHORT, shadow=False, start_weight=0.2))
    time.sleep(1.5)
    live.process(4).kill()
    status = live.end()
    assert status.outcome is Action.ROLL_BACK, status
    assert "the canary is silent" in status.sentence
    assert status.weights.canary == 0
    assert "The server of version 4 was ended by SIGKILL and is started again." in live.told


def test_a_champion_that_is_killed_is_back_within_seconds(live):
    champion = live.champion
    killed = live.process(champion)
    os.kill(killed.pid, signal.SIGKILL)
    began = time.monotonic()
    url = f"http://{live.platform.fleet.endpoints()[champion]}/v2/health/ready"
    while time.monotonic() - began < 40:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url).is_success and live.process(champion).pid != killed.pid:
                break
        time.sleep(0.1)
    assert time.monotonic() - began < 30  # four seconds on idle processors
    time.sleep(0.5)
    live.traffic.start_tally()
    time.sleep(1)
    tally = live.traffic.tally
    assert tally.versions[champion].requests > 0.8 * RPS
    assert tally.versions[champion].failed == 0


def test_the_feedback_token_opens_the_feedback_and_nothing_else(live):
    opened = {"authorization": f"Bearer {live.platform.feedback_token}"}
    assert httpx.post(f"{live.platform.route_url}/feedback", json=[], headers=opened).is_success
    assert httpx.post(f"{live.platform.collector_url}/v1/predictions", json=[], headers=opened).status_code == 401
    assert httpx.put(live.platform.fault_url(live.champion), json={}, headers=opened).status_code == 401
    assert (live.folder / "feedback-token").stat().st_mode & 0o077 == 0
