"""One HTTPRoute is written by one operator at a time, never over somebody else's, and counts once it is accepted."""

from dataclasses import replace

import httpx2
import pytest

from fake_cluster import LABELS, NAMESPACE, FakeCluster, RefusedError, accept_routes
from perch.adapters.cluster.seen import Written
from perch.adapters.traffic import gateway as gateway_module
from perch.adapters.traffic.gateway import GatewayRouter, Route
from perch.core.types import Arm, Weights
from perch.errors import PlatformError

OWNER = {"apiVersion": "perch.dev/v1alpha1", "kind": "ModelService", "name": "ads", "uid": "u"}
ENDPOINTS = {Arm.STABLE: "ads-v1.shop:80", Arm.CANARY: "ads-v2.shop:80"}
RAMP = Weights(stable=0.9, canary=0.1)


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setattr(gateway_module, "_POLL_S", 0.001)
    monkeypatch.setattr(gateway_module, "ACCEPTED_TIMEOUT_S", 0.02)
    return FakeCluster(accept_routes)


def router_of(cluster, may_write=lambda: None):
    return GatewayRouter(
        cluster.blocking, Route("ads", NAMESPACE, "kserve/gateway", "ads.perch"), owner=OWNER, may_write=may_write
    )


class Lease:
    """Is lost after some questions."""

    def __init__(self, granted):
        self.granted = granted

    def __call__(self):
        self.granted -= 1
        if self.granted < 0:
            raise PlatformError("This operator does not hold the lease.")


def raising(error):
    def effect():
        raise error

    return effect


def someone_writes(cluster):
    def write():
        labels = cluster.get("httproutes", "ads")["metadata"]["labels"]
        metadata = cluster.get("httproutes", "ads")["metadata"] | {"labels": labels | {"seen": str(len(labels))}}
        cluster.change("httproutes", "ads", metadata=metadata)

    return write


def test_the_route_goes_with_the_object_that_asks_for_it(cluster):
    router_of(cluster).route(ENDPOINTS, RAMP)
    assert cluster.get("httproutes", "ads")["metadata"]["ownerReferences"] == [OWNER]


def test_a_write_that_somebody_came_before_is_tried_again_on_what_is_there_now(cluster):
    lease = Lease(3)
    router = router_of(cluster, lease)
    router.route(ENDPOINTS, Weights())
    cluster.interrupt("PATCH", someone_writes(cluster))
    router.route(ENDPOINTS, RAMP)
    assert router.weights() == RAMP
    assert cluster.get("httproutes", "ads")["metadata"]["labels"] == LABELS | {"seen": "2"}
    assert lease.granted == 0  # it asked before each try


def test_who_is_always_too_late_says_so(cluster):
    router = router_of(cluster)
    router.route(ENDPOINTS, Weights())
    for _ in range(3):
        cluster.interrupt("PATCH", raising(RefusedError(409, "Conflict", "the object has been modified")))
    with pytest.raises(PlatformError, match="refuses to change the weights of ads: the object has been modified"):
        router.route(ENDPOINTS, RAMP)
    assert router.weights() == Weights()


def test_who_does_not_hold_the_lease_writes_nothing(cluster):
    with pytest.raises(PlatformError, match="does not hold the lease"):
        router_of(cluster, Lease(0)).route(ENDPOINTS, RAMP)
    assert cluster.written == []


def test_who_loses_the_lease_between_two_tries_leaves_what_the_next_one_wrote(cluster):
    router = router_of(cluster, Lease(2))
    router.route(ENDPOINTS, RAMP)
    cluster.interrupt("PATCH", lambda: router_of(cluster).route(ENDPOINTS, Weights()))
    with pytest.raises(PlatformError, match="does not hold the lease"):
        router.route(ENDPOINTS, Weights(stable=0.5, canary=0.5))
    assert router.weights() == Weights()


def test_a_route_that_is_not_ours_is_refused_and_left_alone(cluster):
    theirs = cluster.put("httproutes", {"metadata": {"name": "ads", "labels": {"app": "theirs"}}, "spec": {"a": 1}})
    with pytest.raises(PlatformError, match=r"HTTPRoute ads in shop was not made by Perch. Rename the ModelService"):
        router_of(cluster).route(ENDPOINTS, RAMP)
    assert cluster.get("httproutes", "ads") == theirs
    assert cluster.written == []


def test_a_route_that_somebody_made_another_one_of_tells_no_weights(cluster):
    router = router_of(cluster)
    router.route(ENDPOINTS, RAMP)
    cluster.change("httproutes", "ads", spec={"rules": [{"backendRefs": [{"name": "theirs", "port": 80}]}]})
    assert router.weights() == Weights()


def test_a_route_that_somebody_makes_while_we_look_is_not_taken_over(cluster):
    theirs = {"metadata": {"name": "ads", "labels": {"app": "theirs"}}, "spec": {"a": 1}}
    cluster.interrupt("PATCH", lambda: cluster.put("httproutes", theirs))
    with pytest.raises(PlatformError, match=r"refuses to change the weights of ads: .*resourceVersion"):
        router_of(cluster).route(ENDPOINTS, RAMP)
    assert cluster.get("httproutes", "ads")["spec"] == {"a": 1}


@pytest.mark.parametrize(
    ("conditions", "told"),
    [
        ([], "its condition Accepted is not there yet"),
        ([{"type": "Accepted", "status": "True", "observedGeneration": 0}], "its condition Accepted is not there yet"),
        (
            [{"type": "Accepted", "status": "False", "observedGeneration": 9, "reason": "NoMatch", "message": "No."}],
            "NoMatch: No.",
        ),
        (
            [{"type": "Accepted", "status": "True", "observedGeneration": 9}],
            "its condition ResolvedRefs is not there yet",
        ),
    ],
)
def test_a_route_that_is_not_accepted_in_time_is_told_with_its_reason(cluster, conditions, told):
    def look(cluster, change, resource, route):
        cluster.change("httproutes", "ads", status={"parents": [{"conditions": conditions}]})

    cluster.controllers[:] = [look]
    with pytest.raises(PlatformError, match=rf"kserve/gateway did not accept the route of ads within .*: {told}"):
        router_of(cluster).route(ENDPOINTS, RAMP)


def test_a_gateway_that_takes_its_time_is_waited_for(cluster, monkeypatch):
    monkeypatch.setattr(gateway_module, "ACCEPTED_TIMEOUT_S", 5.0)
    cluster.controllers.clear()
    looks = []

    def looked():
        looks.append(1)
        if len(looks) == 3:
            cluster.controllers.append(accept_routes)
            someone_writes(cluster)()
        cluster.interrupt("GET", looked)

    router = router_of(cluster)
    cluster.interrupt("PATCH", lambda: cluster.interrupt("GET", looked))
    router.route(ENDPOINTS, RAMP)
    assert len(looks) == 3


def test_who_takes_the_labels_off_does_not_keep_us_from_the_weights(cluster):
    router = router_of(cluster)
    router.route(ENDPOINTS, RAMP)
    cluster.change("httproutes", "ads", metadata=cluster.get("httproutes", "ads")["metadata"] | {"labels": {}})
    router.route(ENDPOINTS, Weights())
    assert router.weights() == Weights()
    assert cluster.get("httproutes", "ads")["metadata"]["labels"] == LABELS


def written(cluster):
    metadata = cluster.get("httproutes", "ads")["metadata"]
    return Written(metadata["uid"], metadata["generation"])


def test_what_somebody_else_writes_is_told_apart_from_what_we_wrote(cluster):
    router = router_of(cluster)
    assert not router.is_foreign(None)  # nothing is ours yet
    router.route(ENDPOINTS, RAMP)
    ours = written(cluster)
    assert not router.is_foreign(ours)
    assert not router.is_foreign(replace(ours, generation=ours.generation - 1))  # what is watched comes late
    assert router.is_foreign(replace(ours, generation=ours.generation + 1))
    assert router.is_foreign(None)


def test_a_route_that_somebody_made_in_place_of_ours_is_not_taken_for_it(cluster):
    router = router_of(cluster)
    router.route(ENDPOINTS, RAMP)
    ours = cluster.get("httproutes", "ads")
    cluster.remove("httproutes", "ads")
    del ours["metadata"]["resourceVersion"]
    cluster.put("httproutes", ours | {"spec": {}})
    assert written(cluster).generation == 1
    assert router.is_foreign(written(cluster))


def test_a_write_whose_answer_is_lost_is_not_taken_for_somebody_elses(cluster):
    router = router_of(cluster)
    router.route(ENDPOINTS, Weights())
    cluster.interrupt("PATCH", raising(httpx2.ReadTimeout("too slow")), after=True)
    with pytest.raises(PlatformError, match=r"does not answer \(too slow\), so it did not change the weights of ads"):
        router.route(ENDPOINTS, RAMP)
    assert not router.is_foreign(written(cluster))


def test_an_api_server_that_is_away_is_told_in_a_sentence(cluster):
    cluster.is_away = True
    with pytest.raises(PlatformError, match=r"does not answer \(connection refused\), so it did not read the route"):
        router_of(cluster).route(ENDPOINTS, RAMP)
