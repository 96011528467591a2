"""The inspection on a real cluster: a job beside the collector names the feature that is not what training makes."""

import pytest

from cluster_release import declared, runs, serving, spoil, traffic, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

LOST = {"column": "site", "how": "null"}


@pytest.fixture
def inspect(service, kubectl, installed):
    """Runs the service's CronJob now; what it says."""

    def inspect(job):
        names = ("-n", installed)
        kubectl("create", "job", job, f"--from=cronjob/{service.name}-inspect", *names)
        kubectl("wait", "--for=condition=complete", f"job/{job}", *names, "--timeout=180s")
        said = kubectl("logs", f"job/{job}", *names).stdout
        kubectl("delete", "job", job, *names)
        return said

    return inspect


@runs
async def test_a_champion_that_loses_a_column_is_told_by_its_feature_and_stays(
    service, market, gateway, forward, registry, inspect, kubectl, installed
):
    service.apply(**declared() | {"events": {"featuresShare": 1.0}})
    async with traffic(market, gateway, service) as flow:
        await serving(service, flow, 1)
        tally = flow.start_tally()
        await until(lambda: tally.versions[1].requests > 600)
        healthy = inspect(f"{service.name}-first")
        await spoil(forward, service.pods(1), {"skew": LOST})
        broken = flow.start_tally()
        await until(lambda: broken.versions[1].requests > 600)
        said = inspect(f"{service.name}-second")
    assert "are served as training makes them, to twelve digits." in healthy
    assert "drifts from training" in healthy
    assert "site_log_odds is skewed: training makes the same of " in said
    assert "site is missing drifts from training" in said
    assert (service.status.champion, service.status.phase) == (1, "serving")
    run = registry._client.get_model_version("ad-clicks", "1").run_id
    kept = [one.path for one in registry._client.list_artifacts(run, "reports")]
    assert len([path for path in kept if path.startswith("reports/training-")]) == 2, kept


@runs
async def test_where_no_inputs_are_kept_nothing_is_inspected(service, kubectl, installed):
    def has_job():
        return kubectl("get", "cronjob", f"{service.name}-inspect", "-n", installed, check=False).returncode == 0

    service.apply(**declared() | {"events": {"featuresShare": 0.5}})
    await until(has_job)
    service.apply(**declared() | {"events": {"featuresShare": 0.0}})
    await until(lambda: not has_job())
