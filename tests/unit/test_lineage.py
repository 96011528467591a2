"""`perch lineage`: from a version to its data, and to its rollouts."""

import json
from dataclasses import replace

import pytest

from core_market import Version
from perch.adapters.registry.memory import MemoryRegistry
from perch.adapters.registry.port import ModelVersion, Role
from perch.cli import on_machine
from perch.core.types import Action
from perch.errors import RegistryError
from perch.rollout import running as running_module
from perch.rollout.history import history
from perch.rollout.lineage import lineage
from service_world import FAST, World, registered

GATES = {
    "findings": [
        {"gate": "quality", "passed": True, "sentence": "better: by 3 %", "figures": {"low": 1.0}, "verdict": "better"},
        {"gate": "size", "passed": False, "sentence": "the package has 900 MB: it is refused"},
    ],
    "not_judged": [{"gate": "freshness", "reason": "no limit is declared"}],
    "accepted": False,
}
TAGS = {
    "data_digest": "d" * 64,
    "data_from_s": "1767225600",
    "data_to_s": "1768420797",
    "data_rows": "294991",
    "code_version": "0.1.0+abc",
    "parameters": json.dumps({"kind": "lightgbm", "settings": {"seed": 3, "gates": {"margin": 0.01}}}),
    "gate_reason": "the package has 900 MB: it is refused",
    "gates": json.dumps(GATES),
    "workflow": "retrain-x7k2",
    "reason": "the live log loss decays",
}
VERSION = ModelVersion("ad-clicks", 2, "a" * 64, "lightgbm", tags=TAGS, roles=frozenset({Role.CHALLENGER}), run="r1")


def without(*names):
    return replace(VERSION, tags={name: value for name, value in TAGS.items() if name not in names})


def test_everything_that_training_wrote_is_told():
    known = lineage(VERSION, ())
    assert (known.data.rows, known.data.from_s, known.data.to_s) == (294_991, 1_767_225_600, 1_768_420_797)
    assert (known.workflow, known.reason, known.run) == ("retrain-x7k2", "the live log loss decays", "r1")
    assert known.parameters["settings"]["seed"] == 3
    assert [(one.gate, one.passed) for one in known.gates.findings] == [("quality", True), ("size", False)]
    assert known.gates.not_judged[0].reason == "no limit is declared"
    assert known.lacking == ()


@pytest.mark.parametrize("name", ["data_digest", "data_from_s", "data_to_s", "data_rows", "code_version", "parameters"])
def test_what_an_older_version_lacks_is_named_and_not_made_up(name):
    known = lineage(without(name), ())
    assert known.lacking == (name,)


def test_a_version_of_the_first_release_has_a_lineage_with_gaps():
    known = lineage(replace(VERSION, tags={"gate_reason": "better"}, run=None), ())
    assert known.data.rows is None
    assert known.gates is None
    assert {"data_rows", "parameters", "gates"} <= set(known.lacking)


def test_a_baseline_passed_no_gates_and_lacks_nothing_for_it():
    assert lineage(without("gate_reason", "gates", "workflow", "reason"), ()).lacking == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [("data_rows", "many"), ("gates", "{"), ("gates", "7"), ("parameters", "["), ("parameters", "[]")],
)
def test_what_cannot_be_read_is_named(name, value):
    assert lineage(replace(VERSION, tags={**TAGS, name: value}), ()).lacking == (name,)


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A place where version 2 came home, then was promoted, and then version 3 came home."""
    monkeypatch.setattr(running_module, "_DRAIN_S", 0.0)
    registry = registered(tmp_path, 1, 2, 3)
    monkeypatch.setattr(on_machine, "open_registry", lambda folder: registry)
    with World(registry, tmp_path / ".perch") as world:
        for version, rate in ((2, 0.3), (2, 0.0), (3, 0.3)):
            world.behaviour[version] = Version(error_rate=rate)
            world.release(version, FAST, override=True)
            world.run_out()
        yield world


def test_its_own_rollouts_are_told_and_no_others(world):
    rollouts = lineage(world.registry.get("ad-clicks", 2), history(world.folder).rollouts).rollouts
    assert [(one.name, one.outcome) for one in rollouts] == [("v2-2", Action.PROMOTE), ("v2-1", Action.ROLL_BACK)]


def test_the_command_tells_it_to_people_and_to_programs(perch, world, monkeypatch):
    perch("init")
    code, said = perch("lineage", "2")
    assert code == 0
    lines = said.splitlines()
    assert lines[0].startswith("version     ad-clicks 2, logistic, champion, digest ")
    assert any(line.startswith("rollouts    v2-2, ") and "promote" in line for line in lines)
    assert lines[-1].startswith("lacking     data_digest, ")
    told = json.loads(perch("lineage", "2", "--json")[1])
    assert [one["name"] for one in told["rollouts"]] == ["v2-2", "v2-1"]


def test_the_command_tells_data_and_gates(perch, world, monkeypatch):
    perch("init")
    monkeypatch.setattr(MemoryRegistry, "get", lambda registry, model, version: VERSION)
    said = perch("lineage", "2")[1]
    assert "294,991 impressions from 2026-01-01 00:00 UTC to 2026-01-14 19:59 UTC, digest dddddddddddd" in said
    assert "trained by  workflow retrain-x7k2\nbecause     the live log loss decays\n" in said
    assert "parameters  seed 3\n" in said
    assert "REFUSED size: the package has 900 MB: it is refused" in said
    assert "not judged freshness: no limit is declared" in said


def test_a_version_that_is_not_there_is_told(perch, world):
    perch("init")
    code, said = perch("lineage", "9")
    assert code == RegistryError.exit_code
    assert said == "perch: ad-clicks has no version 9: `perch models` lists those there are\n"
