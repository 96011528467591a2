"""A Workflow of the cluster is told as one of this machine is."""

import json

import pytest

from perch.adapters.cluster.kubectl import Kubectl
from perch.adapters.notify.message import URL
from perch.errors import PerchError, PlatformError, UsageError
from perch.workflows.argo import Argo, run_of
from perch.workflows.telling import notify, sentence_of

MESSAGE = "main: Error (exit code 10): No candidate is offered, and what serves stays."


def node(name, phase="Succeeded", **more):
    times = {"startedAt": "2026-11-21T20:00:00Z", "finishedAt": "2026-11-21T20:00:07Z"}
    return {"name": f"ads-train-x1.{name}", "type": "Pod", "phase": phase, **times, **more}


def workflow(phase, *nodes):
    return {
        "metadata": {"name": "ads-train-x1"},
        "spec": {
            "workflowTemplateRef": {"name": "perch-train"},
            "arguments": {"parameters": [{"name": "service", "value": "ads"}]},
        },
        "status": {"phase": phase, "nodes": {str(number): one for number, one in enumerate(nodes)}},
    }


class Cluster(Kubectl):
    """A cluster that tells what it is told to."""

    def __init__(self, *looks):
        super().__init__("prod", "shop")
        self.looks, self.made = list(looks), []

    def create(self, manifest):
        self.made.append(manifest)
        return {"metadata": {"name": "ads-train-x1"}}

    def get(self, kind, name, *, namespace=None):
        return self.looks.pop(0)


def test_nodes_are_called_as_the_local_runner_calls_its_steps():
    offered = {"parameters": [{"name": "version", "value": "2"}]}
    told = run_of(
        workflow(
            "Succeeded",
            node("declare(0)"),
            node("log", type="DAG", memoizationStatus={"hit": True}),
            node("prepared", type="DAG"),
            node("candidates(0:lightgbm).fit(1)"),
            node("offer(0)", outputs=offered),
            {"name": "ads-train-x1", "type": "DAG", "phase": "Succeeded"},
        )
    )
    assert list(told.nodes) == ["declare", "log", "candidates(lightgbm).fit", "offer"]
    assert told.nodes["log"].phase == "Remembered"
    assert told.nodes["declare"].seconds == 7
    assert told.nodes["offer"].parameters == {"version": "2"}


def test_a_workflow_is_submitted_by_its_template_and_followed_to_its_end(monkeypatch):
    monkeypatch.setattr("perch.workflows.argo._LOOK_S", 0)
    offered = {"parameters": [{"name": "version", "value": "2"}]}
    cluster = Cluster(workflow("Running"), workflow("Succeeded", node("offer(0)", outputs=offered)))
    seen = []
    outputs = Argo(cluster).run(
        "train", {"service": "ads", "reason": "a test"}, lambda run: seen.append(run.phase), resume=False
    )
    assert outputs == {"version": "2"}
    assert seen == ["Running", "Succeeded"]
    (made,) = cluster.made
    assert made["metadata"] == {"generateName": "ads-train-"}
    assert made["spec"]["workflowTemplateRef"] == {"name": "perch-train"}
    assert {"name": "reason", "value": "a test"} in made["spec"]["arguments"]["parameters"]


def test_a_step_that_failed_is_told_in_its_own_words_and_with_its_own_exit_code():
    cluster = Cluster(workflow("Failed", node("offer(0)", "Failed", message=MESSAGE)))
    with pytest.raises(PerchError, match=r"No candidate is offered.*\(step offer\)") as raised:
        Argo(cluster).run("train", {"service": "ads"}, lambda run: None, resume=False)
    assert raised.value.exit_code == 10


def test_going_on_with_a_workflow_is_left_to_argo():
    with pytest.raises(UsageError, match="argo retry"):
        Argo(Cluster()).run("train", {"service": "ads"}, lambda run: None, resume=True)


@pytest.mark.parametrize("twice", [False, True])
def test_the_end_is_told_in_a_sentence_with_the_first_reason(twice):
    failures = json.dumps([{"displayName": "offer", "message": "No candidate is offered."}])
    told = sentence_of("ads-train-x1", "Failed", json.dumps(failures) if twice else failures)
    assert told == "ads-train-x1 has failed: No candidate is offered."
    assert sentence_of("ads-train-x1", "Succeeded", "null") == "ads-train-x1 has succeeded."


def test_nobody_is_told_where_no_address_is_named(monkeypatch):
    monkeypatch.delenv(URL, raising=False)
    notify("anything", {})


def test_a_workflow_that_never_got_to_a_step_says_why():
    looks = workflow("Error") | {"status": {"phase": "Error", "message": "workflowtemplates perch-train not found"}}
    with pytest.raises(PerchError, match="workflowtemplates perch-train not found"):
        Argo(Cluster(looks)).run("train", {"service": "ads"}, lambda run: None, resume=False)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/services/SECRET", "no address: SECRET"])
def test_who_could_not_be_told_is_said_without_the_address(url, monkeypatch):
    monkeypatch.setenv(URL, url)
    with pytest.raises(PlatformError, match="Nobody was told 'it ended'") as raised:
        notify("it ended", {})
    assert "SECRET" not in str(raised.value)
