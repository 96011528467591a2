"""Labels of a live market reach a rollout on the real platform: clicks come late, join, and decide."""

import asyncio
import copy
import time
from dataclasses import replace

import httpx
import numpy as np
import pytest

from perch.adapters.registry.port import Role
from perch.core.paired import POINTS
from perch.core.policy import Labels, Policy, Slo
from perch.core.types import Action, Outcomes
from perch.demo.traffic import Traffic
from perch.local.platform import platform
from perch.rollout.backtest import backtest
from perch.rollout.ledger import read
from perch.settings import ModelService, Spec
from perch.world.market import Market
from serving_process import free_port

pytestmark = pytest.mark.e2e

RPS = 150.0
WINDOW_S = 4
CHAMPION, CHALLENGER = 1, 2
POLICY = Policy(labels=Labels.WATCHED, shadow_s=1, start_weight=0.5, bake_s=60, margin=0.05)


@pytest.fixture
def registry(memory_registry):
    """Knows of no scores to be expected, so that only labels can tell what is wrong with them."""
    registry = copy.deepcopy(memory_registry)
    registry.withdraw("ad-clicks", Role.CHAMPION)
    challenger = registry._entries["ad-clicks"][CHALLENGER - 1]
    blind = replace(challenger.version, score_histogram=(), quarantine=None)
    registry._entries["ad-clicks"][CHALLENGER - 1] = replace(challenger, version=blind)
    return registry


def labels(ticks):
    """Pairs by their points, and clicks on the canary's and on the champion's answers."""
    outcomes = [tick.observation.outcomes or Outcomes() for tick in ticks]
    paired = np.sum([one.paired for one in outcomes if one.paired] or [np.zeros(len(POINTS))], axis=0)
    cohorts = [cohort for one in outcomes for cohort in one.cohorts]
    return paired, sum(cohort.canary for cohort in cohorts), sum(cohort.stable for cohort in cohorts)


async def tick_until(reached, service, ledger):
    """Wait; the ticks so far."""
    deadline = time.monotonic() + 30
    while not reached(ticks := read(ledger).ticks):
        assert time.monotonic() < deadline, service.status()
        await asyncio.sleep(0.5)
    return ticks


def is_plenty(ticks):
    paired, canary, stable = labels(ticks)
    return paired.sum() >= 100 and min(canary, stable) >= 3


async def rollout(registry, folder):
    """Release a good version and break it once its labels have come: the ticks before that, the record, the clients."""
    spec = Spec(policy=POLICY, slo=Slo(latency_p99_ms=500.0), port=free_port(), attributionWindowS=WINDOW_S)
    live = platform(ModelService(spec=spec), registry, folder, port=spec.port, allow_faults=True, notify=lambda _: None)
    async with live as running:
        traffic = Traffic(Market(0), running.route_url, running.feedback_token, rps=RPS, slo_latency_ms=500.0)
        async with traffic.flowing(), httpx.AsyncClient(trust_env=False) as client:
            ledger = running.service.ledger_file(await running.service.release(CHALLENGER, POLICY, time.time()))
            good = await tick_until(is_plenty, running.service, ledger)
            headers = {"authorization": f"Bearer {running.token}"}
            broken = await client.put(running.fault_url(CHALLENGER), json={"constant_score": 0.5}, headers=headers)
            broken.raise_for_status()
            await tick_until(lambda ticks: ticks[-1].outcome, running.service, ledger)
        return good, read(ledger), traffic


def test_labels_say_nothing_against_a_good_version_and_bring_it_home_when_it_misjudges(registry, tmp_path):
    good, record, traffic = asyncio.run(rollout(registry, tmp_path))

    paired, _, _ = labels(good)
    assert paired @ POINTS / paired.sum() < 0.02
    assert max(tick.decision.e_value for tick in good) < 20

    ended = record.ticks[-1]
    assert ended.outcome is Action.ROLL_BACK
    assert "where both versions scored a request the canary's log loss is more than" in ended.decision.sentence
    assert ended.observation.now_s - good[-1].observation.now_s < WINDOW_S + 10

    paired, canary, stable = labels(record.ticks)
    assert paired.sum() == pytest.approx(round(paired.sum()))
    assert paired.sum() <= traffic.tally.versions[CHAMPION].requests
    assert canary + stable <= traffic.clicks_sent
    assert backtest(record, POLICY).exact
