"""The external judge on a real cluster: Evidently, in a pod of its own, brings a canary home."""

import asyncio
import json

import pytest

from cluster_release import declared, runs, serving, spoil, traffic, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

SLOW = {"latencyP99Ms": 2_000, "negligibleLatencyMs": 2_000}  # nobody goes home for what a busy machine does
IN_HOURS = {"column": "ad_age_days", "how": "scale", "factor": 24.0}


@pytest.fixture
def judged(service, kubectl, installed):
    """The service, with a judge; and what its Deployment tells."""
    service.apply(**declared(externalJudge=True, shadowS=300) | {"slo": SLOW, "events": {"featuresShare": 1.0}})

    def deployment():
        found = kubectl("get", "deployment", f"{service.name}-judge", "-n", installed, "-o", "json", check=False)
        return json.loads(found.stdout).get("status", {}) if found.returncode == 0 else None

    return deployment


@runs
async def test_evidently_brings_a_canary_home_that_is_given_something_else(
    service, judged, market, gateway, blind, forward, registry, kubectl, installed
):
    async with traffic(market, gateway, service) as flow:
        await serving(service, flow, 1)
        await until(lambda: (judged() or {}).get("readyReplicas") == 1)
        tally = flow.start_tally()
        service.wish(blind)
        await until(lambda: service.status.phase == "shadow")

        def windows():
            said = kubectl("logs", f"deployment/{service.name}-judge", "-n", installed).stdout
            return [line for line in said.splitlines() if line.startswith("p = ")]

        await until(lambda: len(windows()) >= 2)
        assert all(line.startswith("p = 1:") for line in windows()), windows()
        await spoil(forward, service.pods(blind), {"skew": IN_HOURS})
        await until(lambda: service.status.phase == "serving")
        assert tally.versions[blind].requests == 0
    assert service.status.champion == 1
    assert "by Evidently column ad_age_days differs most" in service.status.sentence
    run = registry._client.get_model_version("ad-clicks", str(blind)).run_id
    kept = await asyncio.to_thread(registry._client.list_artifacts, run, "reports")
    assert kept, "no report of Evidently's was kept with the version"


@runs
async def test_a_judge_that_nobody_wants_is_taken_away(service, judged):
    await until(lambda: judged() is not None)
    service.apply(**declared())
    await until(lambda: judged() is None)
