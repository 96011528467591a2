"""Training, gates and releases by the cluster's own Argo, as a person submits and watches them."""

import json
import time
from uuid import uuid4

import pytest

from cluster_person import Person
from cluster_release import CLUSTER, POLICY
from perch.adapters.registry.mlflow import MlflowRegistry
from perch.adapters.registry.port import Role
from perch.pipeline.offer import refusal

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(2_400)]

TRAINING_S = 1_200
POLICY_WITHOUT_WAITING = POLICY | {"shadow": False, "minRequests": 50, "guardS": 5, "bakeS": 10, "baselineShare": 0.0}


@pytest.fixture
def models(forward):
    """The cluster's registry."""
    with forward("svc/perch-mlflow", 5000) as url:
        yield MlflowRegistry(url)


@pytest.fixture
def declare(tmp_path, kubeconfig, kubectl, installed):
    """Declares a service with a model of its own, and gives who declared it; it goes with the test."""
    name = f"wf-{uuid4().hex[:4]}"

    def declare(**training):
        head = {"apiVersion": "perch.dev/v1alpha1", "kind": "ModelService", "metadata": {"name": name}}
        slo = {"latencyP99Ms": 200}
        spec = {"model": name, "slo": slo, "policy": POLICY_WITHOUT_WAITING, "cluster": CLUSTER, "training": training}
        told = json.dumps(head | {"spec": spec})
        (tmp_path / "perch.yaml").write_text(told)  # JSON is YAML
        kubectl("apply", "-n", installed, "-f", "-", text=told)
        person = Person(tmp_path, kubeconfig, kubectl("config", "current-context").stdout.strip(), installed)
        person.service = name
        return person

    yield declare
    kubectl("delete", "workflows", "-n", installed, "-l", f"perch.dev/service={name}", "--ignore-not-found")
    kubectl("delete", "modelservice", name, "-n", installed, "--ignore-not-found", "--timeout=60s")


def workflow_of(kubectl, installed, service):
    """The last workflow of a service."""
    words = ("get", "workflows", "-n", installed, "-l", f"perch.dev/service={service}", "-o", "json")
    found = json.loads(kubectl(*words).stdout)["items"]
    return max(found, key=lambda one: one["metadata"]["creationTimestamp"])


def pods_of(workflow, template):
    nodes = workflow.get("status", {}).get("nodes", {}).values()
    return [node for node in nodes if node["type"] == "Pod" and node["templateName"] == template]


def await_pod(kubectl, installed, step):
    """The first running pod of a step."""
    began_s = time.monotonic()
    while time.monotonic() - began_s < TRAINING_S:
        running = ("get", "pods", "-n", installed, "--field-selector=status.phase=Running", "-o", "name")
        for pod in kubectl(*running, "-l", "app.kubernetes.io/name=perch-training").stdout.split():
            if f"-{step}-" in pod:
                return pod
        time.sleep(0.5)
    raise TimeoutError(step)


def test_what_is_trained_is_released_by_one_command_and_comes_with_its_lineage(declare, kubectl, installed, models):
    person = declare()
    retrain = person.begins("workflow", "run", "retrain", "--reason", "a test")
    person.until_it_serves(timeout_s=TRAINING_S)  # the baseline, which the workflow registers first
    with person.begins("market", "--rps", "40", "--seconds", "3000") as market:
        try:
            told, _ = retrain.communicate(timeout=2 * TRAINING_S)
        finally:
            market.terminate()
    assert retrain.returncode == 0, told
    assert "release.follow" in told
    champion = models.holder(person.service, Role.CHAMPION)
    assert champion.kind == "lightgbm"
    assert champion.tags["reason"] == "a test"
    assert champion.tags["workflow"] == workflow_of(kubectl, installed, person.service)["metadata"]["name"]
    lineage = json.loads(person.says("lineage", str(champion.version), "--json"))
    assert champion.tags["workflow"] in json.dumps(lineage)


def test_a_gate_that_refuses_fails_the_workflow_with_its_reason_and_nothing_is_offered(
    declare, kubectl, installed, models
):
    person = declare(gates={"maxPackageMb": 0.001})
    told = person.says("workflow", "run", "train", code=10, timeout_s=TRAINING_S)
    assert "No candidate is offered" in told
    workflow = workflow_of(kubectl, installed, person.service)
    assert workflow["status"]["phase"] == "Failed"
    (offer,) = pods_of(workflow, "offer")
    assert "0.001 MB are allowed" in offer["message"]
    refused = next(one for one in models.versions(person.service) if one.kind == "lightgbm")
    assert "MB" in refusal(refused)
    assert models.holder(person.service, Role.CHALLENGER) is None


def test_two_trainings_at_once_register_once_each_though_a_pod_is_killed(declare, kubectl, installed, models):
    person = declare(seed=1)
    first = person.begins("workflow", "run", "train")
    pod = await_pod(kubectl, installed, "fit")
    kubectl("delete", "-n", installed, pod, "--grace-period=0", "--force")
    killed = workflow_of(kubectl, installed, person.service)["metadata"]["name"]
    declare(seed=2)
    told = person.says("workflow", "run", "train", timeout_s=2 * TRAINING_S)
    assert "asks for traffic" in told
    said, _ = first.communicate(timeout=TRAINING_S)
    assert first.returncode == 0, said
    one = json.loads(kubectl("get", "workflow", killed, "-n", installed, "-o", "json").stdout)
    assert "Error" in {node["phase"] for node in pods_of(one, "fit")}, "the killed pod was tried again"
    versions = models.versions(person.service)
    assert [version.version for version in versions] == [1, 2, 3, 4]
    assert sorted(version.kind for version in versions) == ["lightgbm", "lightgbm", "logistic", "logistic"]
    assert len({version.digest for version in versions}) == 4
    assert len({version.tags["workflow"] for version in versions}) == 2
    declare(seed=1)
    assert "↺" in person.says("workflow", "run", "train", timeout_s=TRAINING_S), "the log is taken again"
    assert [version.digest for version in models.versions(person.service)] == [one.digest for one in versions]
