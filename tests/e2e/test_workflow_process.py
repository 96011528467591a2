"""The README's workflow, run with real processes: the same models as in one process, and what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from perch.adapters.registry.port import Role
from perch.local.store import open_registry
from perch.world.market import Market

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1_800)]

PERCH = Path(sys.executable).parent / "perch"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workflow")
    Market(0).log(14, 60_000).to_parquet(folder / "clicks.parquet")
    declare(folder)
    return folder


def declare(folder, **training):
    head = {"apiVersion": "perch.dev/v1alpha1", "kind": "ModelService", "metadata": {"name": "ads"}}
    slo = {"latencyP99Ms": 5000}  # how fast this machine is, is not what is tested
    spec = {"model": "ctr", "slo": slo, "training": {"data": "clicks.parquet", "candidates": ["wide"]} | training}
    (folder / "perch.yaml").write_text(json.dumps(head | {"spec": spec}))  # JSON is YAML


def perch(folder, *words, code=0):
    tools = {"COLUMNS": "250"}
    done = subprocess.run(
        [PERCH, *words], cwd=folder, capture_output=True, text=True, timeout=900, check=False, env=os.environ | tools
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_workflow_makes_the_models_that_one_process_makes(folder):
    told = perch(folder, "workflow", "run", "train", "--reason", "a test")
    assert "Version 2 asks for traffic" in told
    registry = open_registry(folder / ".perch")
    by_workflow = [version.digest for version in registry.versions("ctr")]
    assert len(by_workflow) == 2
    assert registry.holder("ctr", Role.CHALLENGER).tags["workflow"] == "train-1"
    assert "a test" in perch(folder, "lineage", "2")
    perch(folder, "train")
    assert [version.digest for version in registry.versions("ctr")] == by_workflow


def test_a_gate_that_refuses_ends_the_workflow_with_its_reason_and_mending_it_is_enough(folder):
    declare(folder, gates={"maxPackageMb": 0.001})
    told = perch(folder, "workflow", "run", "train", code=10)
    assert "No candidate is offered, and what serves stays" in told
    declare(folder)
    assert "asks for traffic" in perch(folder, "workflow", "run", "train")


def test_a_feed_that_broke_makes_training_refuse(folder):
    Market(0).log(14, 60_000).assign(click=0, click_time=float("nan")).to_parquet(folder / "broken.parquet")
    declare(folder, data="broken.parquet")
    before = open_registry(folder / ".perch").versions("ctr")
    assert "click" in perch(folder, "workflow", "run", "train", code=4)
    assert open_registry(folder / ".perch").versions("ctr") == before
