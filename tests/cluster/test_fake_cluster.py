"""The API server in memory answers as a real one does, wherever the adapters rely on the answer."""

from uuid import uuid4

import pytest
from lightkube import Client, KubeConfig
from lightkube.core.exceptions import ApiError
from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.coordination_v1 import Lease
from lightkube.types import PatchType

from fake_cluster import NAMESPACE, FakeCluster
from perch.adapters.cluster.objects import HTTPRoute, ModelServiceObject


@pytest.fixture(scope="module")
def namespace(kubectl):
    name = f"perch-fake-{uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


class Server:
    """One API server, and a namespace of it."""

    def __init__(self, client, namespace):
        self.client, self.namespace = client, namespace

    def apply(self, name, hostname="a.test", labels=(), **version):
        metadata = {"name": name, "namespace": self.namespace, "labels": dict.fromkeys(labels, "x")} | version
        kinds = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute"}
        spec = {"hostnames": [hostname], "parentRefs": [{"name": "nobody"}]}
        return self.client.apply(HTTPRoute.from_dict({**kinds, "metadata": metadata, "spec": spec}), force=True)

    def tell(self, name, patch):
        return self.client.patch(
            ModelServiceObject.Status, name, patch, namespace=self.namespace, patch_type=PatchType.MERGE
        )


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.cluster)])
def server(request):
    if request.param == "fake":
        yield Server(FakeCluster().blocking, NAMESPACE)
        return
    namespace, kubeconfig = (request.getfixturevalue(name) for name in ("namespace", "kubeconfig"))
    client = Client(KubeConfig.from_file(kubeconfig).get(), field_manager="perch")
    yield Server(client, namespace)
    client.close()


@pytest.fixture
def refused():
    """Calls something that is refused; gives the code."""

    def refused(call, *given, **named):
        with pytest.raises(ApiError) as told:
            call(*given, **named)
        return told.value.status.code

    return refused


def version_of(found):
    return found["metadata"]["resourceVersion"]


def test_another_wish_is_another_generation_and_any_change_is_another_version(server):
    first = server.apply("again", "a.test")
    assert first["metadata"]["generation"] == 1
    assert server.apply("again", "a.test")["metadata"]["generation"] == 1
    labelled = server.apply("again", "a.test", ["seen"])
    assert (labelled["metadata"]["generation"], version_of(labelled) != version_of(first)) == (1, True)
    assert server.apply("again", "b.test")["metadata"]["generation"] == 2


def test_a_field_that_is_applied_no_longer_is_gone_and_others_stay(server):
    server.apply("fields", labels=["one", "two"])
    theirs = {"metadata": {"labels": {"theirs": "x"}}}
    server.client.patch(HTTPRoute, "fields", theirs, namespace=server.namespace, patch_type=PatchType.MERGE)
    assert server.apply("fields", labels=["one"])["metadata"]["labels"] == {"one": "x", "theirs": "x"}


def test_an_apply_that_names_a_version_is_for_that_one_only(server, refused):
    made = server.apply("versions", resourceVersion="5")  # of what is not there it does not matter
    assert refused(server.apply, "versions", "b.test", resourceVersion="5") == 409
    assert refused(server.apply, "versions", "b.test", resourceVersion=None) == 422  # made since we saw none
    assert server.apply("versions", "b.test", resourceVersion=version_of(made))["metadata"]["generation"] == 2


def test_what_is_not_there_is_404(server, refused):
    for call in (server.client.get, server.client.delete):
        assert refused(call, HTTPRoute, "nobody", namespace=server.namespace) == 404


def test_an_object_that_nothing_belongs_to_is_gone_when_it_is_deleted(server, refused):
    server.apply("gone")
    server.client.delete(HTTPRoute, "gone", namespace=server.namespace)
    assert refused(server.client.get, HTTPRoute, "gone", namespace=server.namespace) == 404


def test_a_lease_is_made_once_and_replaced_only_by_who_saw_it_last(server, refused):
    metadata = ObjectMeta(name="one", namespace=server.namespace)
    server.client.create(Lease(metadata=metadata, spec=LeaseSpec(holderIdentity="a")))
    assert refused(server.client.create, Lease(metadata=metadata, spec=LeaseSpec(holderIdentity="b"))) == 409
    seen = server.client.get(Lease, "one", namespace=server.namespace)
    seen.spec.holderIdentity = "b"
    server.client.replace(seen)
    assert refused(server.client.replace, seen) == 409


def test_a_status_is_merged_by_itself_and_changes_no_generation(server, refused):
    spec = {"model": "ad-clicks"}
    kinds = {"apiVersion": "perch.dev/v1alpha1", "kind": "ModelService"}
    metadata = {"name": "ads", "namespace": server.namespace}
    made = server.client.apply(ModelServiceObject.from_dict({**kinds, "metadata": metadata, "spec": spec}))
    told = server.tell("ads", {"spec": {"model": "other"}, "status": {"observedGeneration": 1, "champion": 3}})
    assert (told["spec"]["model"], told["status"]) == ("ad-clicks", {"observedGeneration": 1, "champion": 3})
    assert told["metadata"]["generation"] == made["metadata"]["generation"]
    emptied = {"metadata": {"resourceVersion": version_of(told)}, "status": {"champion": None}}
    assert server.tell("ads", emptied)["status"] == {"observedGeneration": 1}
    assert refused(server.tell, "ads", emptied) == 409
