"""Which Gateway and which host a service may ask for."""

import asyncio
from types import SimpleNamespace

import pytest

from fake_cluster import NAMESPACE, FakeCluster
from perch.adapters.cluster.seen import Seen
from perch.adapters.labels.collector_resources import Volume
from perch.errors import PlatformError
from perch.operator.assembly import Options, Parts
from perch.operator.exposure import ANYWHERE, Allowed, check_allowed, hostname_of
from perch.settings import ModelService
from perch.settings.schema import Cluster


def cluster(**told):
    return Cluster.model_validate(told)


def test_without_limits_a_service_may_ask_for_any_gateway_and_any_host():
    check_allowed(cluster(gateway="edge/public", hostname="ads.example.com"), ANYWHERE)


@pytest.mark.parametrize("host", ["ads.example.com", "a.b.example.com", "example.com", "ads.internal", None])
def test_a_host_in_an_allowed_domain_is_granted_and_so_is_the_services_own(host):
    check_allowed(cluster(hostname=host), Allowed((), ("example.com", "internal")))


@pytest.mark.parametrize("host", ["example.org", "badexample.com", "example.com.evil.org", "com"])
def test_any_other_host_is_refused_with_what_may_be_asked_for(host):
    with pytest.raises(PlatformError) as refused:
        check_allowed(cluster(hostname=host), Allowed((), ("example.com", "internal")))
    assert str(refused.value) == (
        f"spec.cluster.hostname may not be {host} here, so its route is not written. Set a name in "
        "example.com or internal; or ask whoever runs the cluster to add it to the chart's operator.domains."
    )


def test_any_other_gateway_is_refused_and_the_default_one_is_no_exception():
    allowed = Allowed(("edge/public", "edge/internal"), ())
    check_allowed(cluster(gateway="edge/internal"), allowed)
    with pytest.raises(PlatformError, match=r"gateway may not be kserve/kserve-ingress-gateway .* one of edge/public"):
        check_allowed(cluster(), allowed)


@pytest.mark.parametrize(("declared", "host"), [(None, "ads.shop.perch"), ("ads.example.com", "ads.example.com")])
def test_a_service_without_a_host_has_one_of_its_own(declared, host):
    told = {"apiVersion": "perch.dev/v1alpha1", "kind": "ModelService", "metadata": {"name": "ads"}}
    declaration = ModelService.model_validate(told | {"spec": {"cluster": {"hostname": declared}}})
    assert hostname_of(declaration, "shop") == host


def test_a_service_that_asks_for_what_it_may_not_have_gets_no_object_at_all(tmp_path):
    fake, told = FakeCluster(), {"apiVersion": "perch.dev/v1alpha1", "kind": "ModelService"}
    options = Options(
        image="perch-operator:1",
        registry_url="http://mlflow",
        ledgers=tmp_path,
        namespace="perch",
        holder="us",
        watched=(),
        token_secret=None,
        outcomes=Volume("1Gi", None),
        allowed=Allowed((), ("example.com",)),
    )
    operator = SimpleNamespace(
        options=options,
        client=fake.client,
        blocking=fake.blocking,
        registry=None,
        lease=SimpleNamespace(check=lambda: None),
        say_of=lambda *_: lambda _: None,
        meters=SimpleNamespace(tell_drift=lambda *_: None),
        seen=lambda namespace: Seen.of(fake.client, namespace),
    )
    declaration = ModelService.model_validate(told | {"spec": {"cluster": {"hostname": "ads.example.org"}}})
    parts = Parts(operator, declaration, NAMESPACE, {"uid": "u", "name": "ads"})

    async def adopt():
        try:
            await parts.adopt(renew=True)
        finally:
            await parts.close()

    with pytest.raises(PlatformError, match=r"may not be ads\.example\.org"):
        asyncio.run(adopt())
    assert fake.written == []
