"""Whose object it is that is written over, and how long a write may take."""

import asyncio

import httpx2
import pytest
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference

from fake_cluster import LABELS, NAMESPACE, FakeCluster
from perch.adapters.cluster import writing as writing_module
from perch.adapters.cluster.objects import HTTPRoute
from perch.adapters.cluster.writing import check_ours, find, is_ours, writing
from perch.errors import PlatformError

OWNER = {"apiVersion": "perch.dev/v1alpha1", "kind": "ModelService", "name": "ads", "uid": "u"}


def owned_by(uid):
    return [OwnerReference(apiVersion="perch.dev/v1alpha1", kind="ModelService", name="ads", uid=uid)]


@pytest.mark.parametrize(
    ("told", "ours"),
    [
        ({"labels": LABELS | {"team": "a"}}, True),
        ({"ownerReferences": owned_by("u")}, True),
        ({"ownerReferences": owned_by("another")}, False),
        ({"labels": LABELS | {"perch.dev/service": "shoes"}}, False),
        ({"labels": {"perch.dev/service": "ads"}}, False),
        ({}, False),
    ],
)
def test_an_object_is_ours_by_its_labels_or_by_its_owner(told, ours):
    assert is_ours(ObjectMeta(name="ads", **told), "ads", OWNER) is ours


def test_an_object_of_somebody_else_is_named_with_what_to_do():
    cluster = FakeCluster()
    cluster.put("httproutes", {"metadata": {"name": "ads"}, "spec": {}})
    found = asyncio.run(find(cluster.client, HTTPRoute, "ads", NAMESPACE))
    with pytest.raises(PlatformError, match=r"HTTPRoute ads in shop was not made by Perch. Rename .* that HTTPRoute\."):
        check_ours(found, "ads", OWNER)


def test_what_is_not_there_is_nobodys():
    found = asyncio.run(find(FakeCluster().client, HTTPRoute, "ads", NAMESPACE))
    assert found is None
    check_ours(found, "ads", OWNER)


def test_who_may_not_write_does_not_begin():
    def refuses():
        raise PlatformError("This operator does not hold the lease.")

    async def write():
        async with writing("change it", refuses):
            raise AssertionError

    with pytest.raises(PlatformError, match="does not hold the lease"):
        asyncio.run(write())


def test_a_write_is_given_up_when_another_operator_may_begin_however_the_answer_drips_in(monkeypatch):
    """No single read takes long, so that the client's own timeout never ends it."""
    monkeypatch.setattr(writing_module, "WRITE_S", 0.1)

    async def answer():
        while True:
            yield b" "
            await asyncio.sleep(0.01)

    async def write():
        client = FakeCluster().connect(httpx2.MockTransport(lambda _: httpx2.Response(200, content=answer())))
        async with writing("change it", lambda: None):
            await client.delete(HTTPRoute, "ads", namespace=NAMESPACE)

    with pytest.raises(PlatformError, match=r"does not answer \(no answer in time\), so it did not change it"):
        asyncio.run(asyncio.wait_for(write(), 5))
