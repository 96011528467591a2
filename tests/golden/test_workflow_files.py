"""The workflows in the chart are those of the code, and say what every pod of ours must."""

import importlib
import json
import re

import pytest
import yaml

from markdown_blocks import ROOT
from perch.errors import UsageError
from perch.workflows.local.plan import Templates
from perch.workflows.render import files, workflows
from perch.workflows.schedule import schedule

FOLDER = ROOT / "charts" / "perch" / "files" / "workflows"
FILES = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.yaml")}
WORKFLOWS = {name: yaml.safe_load(text) for name, text in FILES.items()}
PODS = [
    pytest.param(one, id=f"{name}-{one['name']}")
    for name, workflow in WORKFLOWS.items()
    for one in workflow["spec"]["templates"]
    if "dag" not in one
]


def test_the_chart_has_what_the_code_renders():
    assert files() == FILES, "make render"


def memory_of(template, bound):
    """What the main container may take, or asks for; a patch is what counts."""
    container = template.get("script") or template["container"]
    if "podSpecPatch" in template:
        (main,) = json.loads(template["podSpecPatch"])["containers"]
        assert main["name"] == "main"
        container = main
    return container["resources"][bound]["memory"]


@pytest.mark.parametrize("template", PODS)
def test_every_pod_is_bounded_and_restricted(template):
    container = template.get("script") or template["container"]
    assert container["resources"]["requests"]["cpu"]
    assert memory_of(template, "limits") == memory_of(template, "requests") is not None
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["command"], "nobody looks an image's entrypoint up"
    assert template["activeDeadlineSeconds"] > 0
    assert template["retryStrategy"]["limit"] == 3
    assert not template.get("daemon") or container["args"], "what goes on beside the others is Dask's"


@pytest.mark.parametrize("template", PODS)
def test_what_a_pod_runs_is_there_to_be_run(template):
    if "container" in template:
        assert importlib.import_module(template["container"]["command"][2])
        return
    module, _, function = template["script"]["args"][-1].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize("workflow", WORKFLOWS.values(), ids=WORKFLOWS)
def test_every_workflow_ends_cleans_up_and_counts(workflow):
    spec = workflow["spec"]
    assert spec["onExit"] in {one["name"] for one in spec["templates"]}
    assert spec["ttlStrategy"]["secondsAfterSuccess"] < spec["ttlStrategy"]["secondsAfterFailure"]
    assert spec["podGC"] == {"strategy": "OnPodSuccess"}
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (success,) = (one for one in spec["metrics"]["prometheus"] if "last_success" in one["name"])
    assert success["when"] == "{{status}} == Succeeded"


def test_steps_that_hold_rows_may_take_what_is_declared():
    declared = {one.values[0]["name"] for one in PODS if "workflow.parameters" in memory_of(one.values[0], "limits")}
    rows = {"ingest", "validate", "features", "fit", "repeat", "evaluate", "judge", "register", "fit-distributed"}
    assert declared == rows
    for name in ("train", "train-distributed", "retrain"):
        parameters = WORKFLOWS[f"perch-{name}.yaml"]["spec"]["arguments"]["parameters"]
        assert {"name": "memory", "value": "2Gi"} in parameters


def test_what_runs_the_code_of_models_is_given_no_credentials():
    given = {
        one.values[0]["name"]: "secretRef" in json.dumps(one.values[0].get("script") or one.values[0]["container"])
        for one in PODS
    }
    without = {
        "validate",
        "features",
        "fit",
        "repeat",
        "evaluate",
        "prove",
        "fit-distributed",
        "follow",
        "scheduler",
        "worker",
    }
    assert {name for name, has in given.items() if not has} == without


def test_only_steps_that_read_or_write_the_wish_may_reach_it():
    accounts = {
        one.values[0]["name"]: one.values[0].get("serviceAccountName")
        for one in PODS
        if one.values[0]["name"] != "farewell"
    }
    assert {name for name, account in accounts.items() if account == "perch-releasing"} == {"declare", "wish", "follow"}
    assert {account for account in accounts.values() if account is not None} == {"perch-releasing"}


def test_two_trainings_of_one_model_never_register_at_once():
    register = next(one.values[0] for one in PODS if one.values[0]["name"] == "register")
    assert register["synchronization"]["mutexes"] == [{"name": "perch-register-{{inputs.parameters.model}}"}]


@pytest.mark.parametrize("name", ["train", "release", "retrain"])
def test_the_local_runner_understands_every_task(name):
    Templates(workflows()).check(f"perch-{name}")


def test_many_machines_are_left_to_argo_before_anything_is_run():
    with pytest.raises(UsageError, match="only Argo understands"):
        Templates(workflows()).check("perch-train-distributed")


@pytest.mark.parametrize(("every", "fields"), [("hour", r"\d+ \* \* \* \*"), ("day", r"\d+ \d+ \* \* \*")])
def test_a_schedule_begins_no_run_beside_another(every, fields):
    cron = schedule("ads", every, "600Mi").to_dict()
    assert cron["metadata"]["name"] == "ads-retrain"
    spec = cron["spec"]
    assert re.fullmatch(fields, spec["schedules"][0])
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["startingDeadlineSeconds"] > 0
    assert spec["workflowSpec"]["workflowTemplateRef"] == {"name": "perch-retrain"}
    assert {"name": "memory", "value": "600Mi"} in spec["workflowSpec"]["arguments"]["parameters"]
