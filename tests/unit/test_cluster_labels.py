"""The collector of a service is made, kept, and never made of what somebody else has."""

import asyncio

import pytest

from fake_cluster import LABELS, NAMESPACE, FakeCluster
from perch.adapters.labels.cluster import ClusterLabels
from perch.adapters.labels.collector_resources import Collecting, Volume
from perch.adapters.labels.judge_resources import Judging
from perch.adapters.traffic.gateway import Route
from perch.errors import PlatformError

OWNER = {"apiVersion": "perch.dev/v1alpha1", "kind": "ModelService", "name": "ads", "uid": "u"}
COLLECTING = Collecting("ads", NAMESPACE, "perch-serving:1", 1800.0, Volume("2Gi", None))
JUDGING = Judging("perch-training:1", "ad-clicks", "http://mlflow:5000")
MADE = {
    "services": "ads-collector",
    "statefulsets": "ads-collector",
    "persistentvolumeclaims": "ads-collector",
    "httproutes": "ads.feedback",
}


@pytest.fixture
def cluster():
    return FakeCluster()


def apply(cluster, may_write=lambda: None, **judges):
    async def once():
        route = Route("ads", NAMESPACE, "kserve/gateway", "ads.perch")
        labels = ClusterLabels(cluster.client, COLLECTING, route, "token", **judges, owner=OWNER, may_write=may_write)
        try:
            await labels.apply()
        finally:
            await labels.close()

    asyncio.run(once())


def test_what_is_made_is_ours_and_goes_with_the_object_that_asks_for_it(cluster):
    apply(cluster)
    for resource, name in (MADE | {"secrets": "ads-collector"}).items():
        metadata = cluster.get(resource, name)["metadata"]
        assert (metadata["labels"], metadata["ownerReferences"]) == (LABELS, [OWNER])


@pytest.mark.parametrize("resource", MADE)
def test_an_object_of_somebody_else_is_left_alone_and_only_the_tokens_that_pods_need_are_made(cluster, resource):
    """What carried our reference to its owner would go with the ModelService: a volume, with what is on it."""
    metadata = {"name": MADE[resource], "labels": {"app": "theirs"}}
    theirs = cluster.put(resource, {"metadata": metadata, "spec": {"selector": {}, "template": {}, "serviceName": ""}})
    with pytest.raises(
        PlatformError, match=rf"{MADE[resource]} in shop was not made by Perch. Rename the ModelService"
    ):
        apply(cluster)
    assert cluster.get(resource, MADE[resource]) == theirs
    assert cluster.written == [("POST", "secrets", "ads-collector")]


def test_tokens_that_are_there_are_kept(cluster):
    theirs = cluster.put("secrets", {"metadata": {"name": "ads-collector"}, "stringData": {"token": "mine"}})
    apply(cluster)
    assert cluster.get("secrets", "ads-collector") == theirs
    assert cluster.names("statefulsets") == {"ads-collector"}


def test_what_somebody_changed_is_mended(cluster):
    apply(cluster)
    cluster.change("services", "ads-collector", spec={"selector": {"app": "theirs"}})
    cluster.remove("statefulsets", "ads-collector")
    apply(cluster)
    assert cluster.get("services", "ads-collector")["spec"]["selector"]["app.kubernetes.io/name"] == "perch-collector"
    assert cluster.names("statefulsets") == {"ads-collector"}


def test_a_judge_runs_beside_the_collector_for_as_long_as_one_is_wanted(cluster):
    apply(cluster, judging=JUDGING)
    metadata = cluster.get("deployments", "ads-judge")["metadata"]
    assert (metadata["labels"], metadata["ownerReferences"]) == (LABELS, [OWNER])
    apply(cluster)
    assert cluster.names("deployments") == set()
    assert cluster.names("statefulsets") == {"ads-collector"}


def test_an_inspection_is_planned_for_as_long_as_one_is_wanted(cluster):
    apply(cluster, inspecting=JUDGING)
    metadata = cluster.get("cronjobs", "ads-inspect")["metadata"]
    assert (metadata["labels"], metadata["ownerReferences"]) == (LABELS, [OWNER])
    assert cluster.names("deployments") == set()
    apply(cluster)
    assert cluster.names("cronjobs") == set()


def test_a_deployment_of_somebody_else_is_neither_changed_nor_taken_away(cluster):
    template = {"metadata": {}, "spec": {"containers": []}}
    metadata = {"name": "ads-judge", "labels": {"app": "theirs"}}
    theirs = cluster.put("deployments", {"metadata": metadata, "spec": {"selector": {}, "template": template}})
    apply(cluster)
    with pytest.raises(PlatformError, match="ads-judge in shop was not made by Perch"):
        apply(cluster, judging=JUDGING)
    assert cluster.get("deployments", "ads-judge") == theirs


def test_who_does_not_hold_the_lease_makes_nothing(cluster):
    def refuses():
        raise PlatformError("This operator does not hold the lease.")

    with pytest.raises(PlatformError, match="does not hold the lease"):
        apply(cluster, refuses)
    assert cluster.written == []
