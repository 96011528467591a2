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


def test_two_trainings_at_once_register_once_each_though_a_step_is_killed(declare, kubectl, installed, models):
    person = declare(seed=1)
    first = person.begins("workflow", "run", "train")
    pod = await_pod(kubectl, installed, "fit")
    kubectl("exec", "-n", installed, pod, "-c", "main", "--", "python", "-c", "import os; os.kill(-1, 9)")
    killed = workflow_of(kubectl, installed, person.service)["metadata"]["name"]
    declare(seed=2)
    told = person.says("workflow", "run", "train", timeout_s=2 * TRAINING_S)
    assert "asks for traffic" in told
    said, _ = first.communicate(timeout=TRAINING_S)
    assert first.returncode == 0, said
    one = json.loads(kubectl("get", "workflow", killed, "-n", installed, "-o", "json").stdout)
    tries = {(node["phase"], node.get("message", "")) for node in pods_of(one, "fit")}
    assert any(phase == "Failed" and "137" in message for phase, message in tries), tries
    versions = models.versions(person.service)
    assert [version.version for version in versions] == [1, 2, 3, 4]
    assert sorted(version.kind for version in versions) == ["lightgbm", "lightgbm", "logistic", "logistic"]
    assert len({version.digest for version in versions}) == 4
    assert len({version.tags["workflow"] for version in versions}) == 2
    declare(seed=1)
    again = person.says("workflow", "run", "train", timeout_s=TRAINING_S)
    assert "↺" in again, again
    assert [version.digest for version in models.versions(person.service)] == [one.digest for one in versions]


def test_trees_grow_on_many_pods_within_what_is_declared_and_the_pods_end_with_the_workflow(
    declare, kubectl, installed, models
):
    person = declare(memoryMib=1_024)
    told = person.says("workflow", "run", "train-distributed", timeout_s=TRAINING_S)
    assert "asks for traffic" in told
    workflow = workflow_of(kubectl, installed, person.service)
    assert len(pods_of(workflow, "worker")) == 2
    assert {"name": "memory", "value": "1024Mi"} in workflow["spec"]["arguments"]["parameters"]
    trees = models.holder(person.service, Role.CHALLENGER)
    assert trees.kind == "lightgbm"
    assert "there was no second training" in trees.tags["gates"]
    left = ("get", "pods", "-n", installed, "-l", f"workflows.argoproj.io/workflow={workflow['metadata']['name']}")
    running = kubectl(*left, "--field-selector=status.phase=Running", "-o", "name").stdout.split()
    assert running == []


def test_a_schedule_begins_workflows_until_it_is_taken_back(declare, kubectl, installed):
    person = declare()
    assert "retrained every hour" in person.says("workflow", "schedule", "hour")
    cron = f"{person.service}-retrain"
    often = json.dumps({"spec": {"schedules": ["* * * * *"]}})
    kubectl("patch", "cronworkflow", cron, "-n", installed, "--type=merge", "-p", often)
    mine = ("get", "workflows", "-n", installed, "-l", f"workflows.argoproj.io/cron-workflow={cron}", "-o", "json")
    began_s, found = time.monotonic(), []
    while not found and time.monotonic() - began_s < 120:
        time.sleep(2)
        found = json.loads(kubectl(*mine).stdout)["items"]
    (begun,) = found
    given = begun["spec"]["arguments"]["parameters"]
    assert {"name": "reason", "value": "schedule: every hour"} in given
    assert "no longer" in person.says("workflow", "schedule", "never")
    assert kubectl("get", "cronworkflow", cron, "-n", installed, check=False).returncode
