"""Freshness on a real cluster: alerts and a person begin workflows, one at a time."""

import asyncio
import json

import httpx
import pytest

from cluster_release import declared, runs, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def storm(service):
    labels = {"alertname": "ClicksFell", "perch_dev_service": service.name}
    alert = {"status": "firing", "labels": labels, "startsAt": "2026-11-21T21:00:00Z"}
    return {"version": "4", "alerts": [alert | {"fingerprint": f"f{number}"} for number in range(50)]}


async def tell(url, content, token):
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:
        posts = (
            client.post("/v1/alerts", json=content, headers={"authorization": f"Bearer {token}"}) for _ in range(5)
        )
        return [answer.status_code for answer in await asyncio.gather(*posts)]


@runs
async def test_a_storm_of_alerts_begins_one_workflow_and_a_person_waits_for_its_end(
    service, kubectl, installed, forward
):
    def begun():
        found = json.loads(kubectl("get", "workflows.argoproj.io", "-n", installed, "-o", "json").stdout)["items"]
        return {one["metadata"]["name"]: one for one in found if one["metadata"]["name"].startswith(service.name)}

    service.apply(**declared(), training={"freshness": {"automatic": True}})
    await until(lambda: "freshness" in vars(service.status))
    assert service.status.freshness["run"] == 0

    with forward("svc/perch-operator", 8083) as url:
        assert await tell(url, storm(service), "guessed") == [401] * 5
        assert not begun()
        assert await tell(url, storm(service), "for-tests-only") == [200] * 5
    assert begun().keys() == {f"{service.name}-retrain-1"}
    (made,) = begun().values()
    given = {one["name"]: one["value"] for one in made["spec"]["arguments"]["parameters"]}
    assert given == {"service": service.name, "reason": "An alert fires: ClicksFell. So do 49 more."}
    assert made["spec"]["workflowTemplateRef"] == {"name": "perch-retrain"}

    service.ask("retrain")
    await until(lambda: "is in progress already" in service.status.conditions.get("Accepted", ""))
    assert begun().keys() == {f"{service.name}-retrain-1"}

    kubectl(
        "patch",
        "workflow",
        f"{service.name}-retrain-1",
        "-n",
        installed,
        "--type=merge",
        "-p",
        '{"spec":{"shutdown":"Terminate"}}',
    )
    await until(lambda: made["metadata"]["name"] not in service.status.freshness.get("inProgress", ""), 240.0)
    await until(lambda: service.status.freshness["runsLeft"] < 4)
