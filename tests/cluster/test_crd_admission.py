"""A real API server takes what may be declared, and refuses the rest with our sentence."""

import json
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from perch.settings import ModelService, to_yaml
from perch.settings.status import ModelServiceStatus

ROOT = Path(__file__).parents[2]
DEFINITION = ROOT / "charts" / "perch" / "crds" / "modelservices.yaml"

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def namespace(kubectl):
    """A namespace of our own, on a cluster that knows the definition."""
    kubectl("apply", "--server-side", "--force-conflicts", "-f", DEFINITION)
    kubectl("wait", "--for=condition=Established", "crd/modelservices.perch.dev", "--timeout=30s")
    name = f"perch-crd-{uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def apply(kubectl, namespace):
    """Applies a declaration, by default without keeping it; gives what the API server says."""

    def apply(text, *, dry_run="server", check=False):
        return kubectl("apply", "-n", namespace, f"--dry-run={dry_run}", "-f", "-", text=text, check=check)

    return apply


def declared(spec, *, name="ads"):
    head = {"apiVersion": "perch.dev/v1alpha1", "kind": "ModelService", "metadata": {"name": name}}
    return yaml.safe_dump(head | {"spec": spec})


def test_the_shipped_declaration_is_taken(apply):
    apply((ROOT / "perch.yaml").read_text(encoding="utf-8"), check=True)


def test_a_declaration_with_every_setting_spelled_out_is_taken(apply):
    apply(to_yaml(ModelService()), check=True)


def test_a_name_of_forty_letters_is_taken(apply):
    apply(declared({}, name="a" * 40), check=True)


REFUSED = {
    "unknown key": ({"modle": "ads"}, 'unknown field "spec.modle"'),
    "unknown key of the policy": ({"policy": {"bake": 3}}, 'unknown field "spec.policy.bake"'),
    "start above the maximum": (
        {"policy": {"startWeight": 0.4, "maxWeight": 0.2}},
        "spec.policy.startWeight: Invalid value: startWeight is above maxWeight. Lower the one or raise the other.",
    ),
    "maximum below the usual start": ({"policy": {"maxWeight": 0.001}}, "startWeight is above maxWeight."),
    "contradictory SLO": (
        {"slo": {"latencyP99Ms": 5, "negligibleLatencyMs": 50}},
        "negligibleLatencyMs is above latencyP99Ms: no breach of the SLO would ever be seen. Lower it.",
    ),
    "out of its range": ({"policy": {"alpha": 2}}, "spec.policy.alpha"),
    "nothing at all": ({"load": {"rps": 0}}, "spec.load.rps"),
    "no number": ({"version": "three"}, "spec.version"),
    "no choice": ({"policy": {"labels": "some"}}, "spec.policy.labels"),
    "no quantity": ({"cluster": {"memory": "512m"}}, "spec.cluster.memory"),
}


@pytest.mark.parametrize(("spec", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_meant_is_refused(apply, spec, sentence):
    answer = apply(declared(spec))
    assert answer.returncode != 0
    assert sentence in answer.stderr


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("a" * 41, "metadata.name is longer than 40 characters"),
        ("ads.v1", "metadata.name holds more than lower-case letters"),
        ("1ads", "does not begin with a letter"),
    ],
)
def test_a_name_from_which_no_dns_label_can_be_made_is_refused(apply, name, sentence):
    answer = apply(declared({}, name=name))
    assert answer.returncode != 0
    assert sentence in answer.stderr


@pytest.fixture
def kept(apply, kubectl, namespace):
    """Declares an object that is really there until the end of the block; gives its name."""

    @contextmanager
    def kept(spec):
        name = f"ads-{uuid4().hex[:8]}"
        apply(declared(spec, name=name), dry_run="none", check=True)
        yield name
        kubectl("delete", "-n", namespace, "msvc", name, "--wait=false")

    return kept


def test_the_model_cannot_be_changed_but_the_rest_can(apply, kept):
    with kept({"version": 1}) as name:
        answer = apply(declared({"model": "other"}, name=name))
        assert answer.returncode != 0
        assert "spec.model: Invalid value: spec.model cannot be changed" in answer.stderr
        apply(declared({"model": "ad-clicks", "version": 2}, name=name), check=True)  # as before, but spelled out


def test_the_status_shows_in_the_columns_and_grows_no_defaults(kubectl, kept, namespace):
    told = {
        "observedGeneration": 1,
        "champion": 1,
        "baseline": 1,
        "canary": 2,
        "phase": "ramp",
        "weight": "12 %",
        "evidence": "1.3 to 1",
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Serving",
                "message": "Version 1 serves.",
                "lastTransitionTime": "2026-01-02T00:00:00Z",
                "observedGeneration": 1,
            }
        ],
        "engine": "x",
    }
    status = ModelServiceStatus.model_validate(told).model_dump(mode="json", by_alias=True)
    with kept({"version": 2}) as name:
        patch = json.dumps({"status": status})
        kubectl("patch", "-n", namespace, "msvc", name, "--subresource=status", "--type=merge", "-p", patch)
        found = json.loads(kubectl("get", "-n", namespace, "msvc", name, "-o", "json").stdout)
        assert found["spec"] == {"version": 2}
        assert found["status"] == told
        head, row = kubectl("get", "-n", namespace, "msvc", name).stdout.splitlines()
        assert head.split() == ["NAME", "WANTED", "CHAMPION", "BASELINE", "PHASE", "WEIGHT", "EVIDENCE", "AGE"]
        assert row.split()[:9] == [name, "2", "1", "1", "ramp", "12", "%", "1.3", "to"]
