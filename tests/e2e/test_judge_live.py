"""On the real platform, a canary that is given something else than the champion goes home by Evidently's judgement."""

import asyncio
import time
from dataclasses import replace

import httpx
import pytest

from perch.adapters.registry.mlflow import MlflowRegistry
from perch.adapters.registry.port import MOST_REPORTS, Role
from perch.core.policy import Policy, Slo
from perch.core.types import Action
from perch.demo.traffic import Traffic
from perch.local.platform import platform
from perch.rollout.backtest import backtest
from perch.rollout.ledger import read
from perch.settings import ModelService, Spec
from perch.world.market import Market
from serving_process import free_port

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

CHALLENGER = 2
POLICY = Policy(external_judge=True, shadow_s=600, min_requests=10_000)
SLO = Slo(latency_p99_ms=5_000.0, negligible_latency_ms=5_000.0)  # Evidently takes a processor, and there are two
SKEW = {"column": "ad_age_days", "how": "scale", "factor": 2.0}


class Blind:
    """Knows of no scores to be expected, so that counts cannot tell what is wrong with them."""

    def __init__(self, registry):
        self._registry = registry

    def __getattr__(self, name):
        return getattr(self._registry, name)

    def get(self, model, version):
        return replace(self._registry.get(model, version), score_histogram=())


@pytest.fixture
def registry(trained, tmp_path):
    registry = trained(MlflowRegistry(f"sqlite:///{tmp_path}/mlflow.db", artifacts=tmp_path / "artifacts"))
    registry.withdraw("ad-clicks", Role.CHAMPION)
    registry.quarantine("ad-clicks", CHALLENGER, None)
    return Blind(registry)


async def tick_until(reached, service, ledger, timeout_s):
    """Wait; the ticks so far."""
    deadline = time.monotonic() + timeout_s
    while not reached(ticks := read(ledger).ticks):
        assert time.monotonic() < deadline, service.status()
        await asyncio.sleep(0.5)
    return ticks


def windows(ticks):
    return [judgement for tick in ticks for judgement in tick.observation.judgements]


async def rollout(registry, folder):
    """Release a good version and skew it once it was judged: the ticks before that, and the record."""
    events = {"featuresShare": 1.0}
    spec = Spec(policy=POLICY, slo=SLO, port=free_port(), events=events)
    live = platform(ModelService(spec=spec), registry, folder, port=spec.port, allow_faults=True, notify=lambda _: None)
    async with live as running:
        traffic = Traffic(Market(0), running.route_url, running.feedback_token, rps=60.0, slo_latency_ms=5_000.0)
        async with traffic.flowing(), httpx.AsyncClient(trust_env=False) as client:
            ledger = running.service.ledger_file(await running.service.release(CHALLENGER, POLICY, time.time()))
            good = await tick_until(lambda ticks: len(windows(ticks)) >= 2, running.service, ledger, 120)
            headers = {"authorization": f"Bearer {running.token}"}
            broken = await client.put(running.fault_url(CHALLENGER), json={"skew": SKEW}, headers=headers)
            broken.raise_for_status()
            await tick_until(lambda ticks: ticks[-1].outcome, running.service, ledger, 120)
        await asyncio.sleep(3)
        return good, read(ledger), running.judge._child


def test_evidently_brings_a_canary_home_that_is_given_something_else(registry, tmp_path):
    good, record, judge = asyncio.run(rollout(registry, tmp_path))

    assert {judgement.p_value for judgement in windows(good)} == {1.0}
    assert max(tick.decision.e_value for tick in good) < 20

    ended = record.ticks[-1]
    assert ended.outcome is Action.ROLL_BACK
    assert "by Evidently column ad_age_days differs most" in ended.decision.sentence
    assert backtest(record, POLICY).exact
    assert judge is None

    reports = sorted(tmp_path.glob("artifacts/**/reports/inputs-*.html"))
    assert 2 <= len(reports) <= MOST_REPORTS
    assert "column ad_age_days" in reports[-1].read_text()
