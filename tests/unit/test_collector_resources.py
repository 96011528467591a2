"""What the objects of a collector say to a cluster."""

from dataclasses import replace
from pathlib import Path

import pytest

from perch import asgi
from perch.adapters.labels.cluster import feedback_route
from perch.adapters.labels.collector_resources import (
    Collecting,
    Volume,
    collector_service,
    secret,
    stateful_set,
    volume_claim,
)
from perch.adapters.traffic.gateway import Route
from perch.collector import __main__ as collector
from perch.errors import UsageError
from perch.settings.schema import Events
from restricted_pods import assert_restricted

COLLECTING = Collecting("ads", "shop", "perch-serving:1", 1800.0, Volume("2Gi", None))
ROUTE = Route("ads", "shop", "kserve/kserve-ingress-gateway", "ads.shop.perch")
DIGEST = asgi.digest("of-labels")


@pytest.fixture
def runs():
    return stateful_set(COLLECTING, DIGEST)["spec"]


def test_a_pod_fits_the_restricted_standard(runs):
    assert_restricted(runs["template"]["spec"])


def test_it_is_run_with_what_the_collector_takes(runs, monkeypatch):
    """Read by the collector's own parser; the volumes of the files are mounted."""
    (container,) = runs["template"]["spec"]["containers"]
    started = {}

    def serve(app, host, *ports, **_):
        started.update(app=app, listens=(host, *ports))

    monkeypatch.setattr(collector.asgi, "run", serve)
    monkeypatch.setattr(collector.asgi, "read_token", str)
    monkeypatch.setattr(collector, "EventStore", FakeStore)
    assert container["command"][:3] == ["python", "-m", "perch.collector"]
    collector.main(container["command"][3:])
    assert started["listens"] == ("0.0.0.0", 8090)
    assert (
        started["app"]._digests.items()
        >= {
            "/v1/predictions": asgi.digest("/token/token"),
            "/v1/outcomes": asgi.digest("/token/feedback-token"),
            "/v1/labels": DIGEST,
            "/v1/matured": DIGEST,
            "/v1/forget": "",
            "/v1/attributes": "",
            "/v1/window": "",
        }.items()
    )
    assert (str(FakeStore.path), FakeStore.window_s) == ("/data/outcomes.sqlite", 1800.0)
    assert {"/data", "/token"} < {one["mountPath"] for one in container["volumeMounts"]}


def test_events_are_kept_in_the_postgresql_of_a_secret_whose_password_no_command_shows():
    collecting = replace(COLLECTING, events=Events(storeSecret="ads-events", retentionDays=90))
    pod = stateful_set(collecting, DIGEST)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (url,) = container["env"]
    assert url["valueFrom"] == {"secretKeyRef": {"name": "ads-events", "key": "url"}}
    options = collector._parser().parse_args(container["command"][3:])
    assert (options.store, options.retention_days) == (f"$({url['name']})", 90.0)
    (folder,) = [one["mountPath"] for one in container["volumeMounts"] if one["name"] == "store"]
    assert options.store_password_file.parent == Path(folder)
    (volume,) = [one["secret"] for one in pod["volumes"] if one["name"] == "store"]
    assert volume["secretName"] == "ads-events"
    assert [one["path"] for one in volume["items"]] == ["password"]


def test_a_password_on_the_command_line_is_refused(tmp_path):
    (tmp_path / "token").write_text("t")
    tokens = ["--token-file", str(tmp_path / "token"), "--feedback-token-file", str(tmp_path / "token")]
    store = ["--store", "postgresql://perch:a-secret@db/events", "--attribution-window-s", "10", "--port", "1"]
    with pytest.raises(UsageError, match="--store-password-file") as refused:
        collector.main([*store, *tokens])
    assert "a-secret" not in str(refused.value)


class FakeStore:
    retention_s = 3600.0
    add_predictions = add_outcomes = None

    def __init__(self, path, window_s, *, retention_s, password):
        FakeStore.path, FakeStore.window_s = path, window_s

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def test_one_writer_has_the_volume(runs):
    assert runs["replicas"] == 1
    claim = volume_claim(COLLECTING)
    assert claim["spec"] == {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}
    mounted = {one["name"]: one for one in runs["template"]["spec"]["volumes"]}
    assert mounted["data"]["persistentVolumeClaim"] == {"claimName": claim["metadata"]["name"]}
    fast = Collecting("ads", "shop", "perch-serving:1", 1800.0, Volume("2Gi", "fast"))
    assert volume_claim(fast)["spec"]["storageClassName"] == "fast"


def test_the_image_of_a_private_registry_can_be_pulled():
    pod = stateful_set(replace(COLLECTING, pull_secrets=("login",)), DIGEST)["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "login"}]


def test_each_secret_has_tokens_of_its_own():
    one, other = secret(COLLECTING)["stringData"], secret(COLLECTING)["stringData"]
    assert one.keys() == {"token", "feedback-token", "control-token", "attributes-token", "judge-token"}
    assert len({*one.values(), *other.values()}) == 10


def test_the_service_leads_to_the_pod(runs):
    told = collector_service(COLLECTING)
    assert told["spec"]["selector"].items() <= runs["template"]["metadata"]["labels"].items()
    assert COLLECTING.url == f"http://{told['metadata']['name']}.shop.svc:{told['spec']['ports'][0]['port']}"


def test_applications_reach_outcomes_and_nothing_else_under_the_services_host():
    told = feedback_route(ROUTE, COLLECTING)
    assert told["metadata"]["name"] == "ads.feedback"
    assert told["spec"]["hostnames"] == ROUTE.manifest["spec"]["hostnames"]
    (rule,) = told["spec"]["rules"]
    assert rule["matches"] == [{"path": {"type": "Exact", "value": "/feedback"}}]
    (rewrite,) = rule["filters"]
    assert rewrite["urlRewrite"]["path"] == {"type": "ReplaceFullPath", "replaceFullPath": "/v1/outcomes"}
    assert rule["backendRefs"] == [{"name": "ads-collector", "port": 8090}]
