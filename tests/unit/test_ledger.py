"""The ledger as a file: what a crash leaves of it, and that it tells and replays the rollout all the same."""

import json
from dataclasses import replace

import pytest

from core_market import Version
from perch.adapters.registry.memory import MemoryRegistry
from perch.adapters.registry.port import Role
from perch.core.types import Action
from perch.errors import PlatformError
from perch.rollout.ledger import SCHEMA, Ledger, entries, replay
from perch.rollout.story import story
from service_world import FAST, World, register


@pytest.fixture
def world(tmp_path):
    registry = MemoryRegistry()
    for number in (1, 2):
        register(registry, tmp_path, number)
    registry.assign("ad-clicks", Role.BASELINE, 1)
    with World(registry, tmp_path / "service") as world:
        yield world


def rolled_out(world, ticks):
    path = world.service.ledger_file(world.release(2))
    for _ in range(ticks):
        world.tick()
    return path


def test_every_entry_says_its_schema_and_kind(world):
    path = rolled_out(world, 3)
    kinds = [entry["kind"] for entry in entries(path)]
    assert kinds[0] == "begin"
    assert kinds.count("tick") == 3
    assert {entry["schema"] for entry in entries(path)} == {SCHEMA}


def test_ticks_are_numbered_without_a_gap(world):
    path = rolled_out(world, 5)
    numbers = [entry["observation"]["tick"] for entry in entries(path) if entry["kind"] == "tick"]
    assert numbers == list(range(numbers[0], numbers[0] + 5))


@pytest.mark.parametrize("kept", [1, 20, 200])
def test_a_line_that_a_crash_cut_short_is_given_up_and_the_next_one_is_whole(world, kept):
    path = rolled_out(world, 3)
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    path.write_bytes(whole + last[:kept])
    complete = list(entries(path))
    assert len(complete) == whole.count(b"\n")
    Ledger(path).note(1_005.0, "The platform was started again.")
    assert path.read_bytes().startswith(whole)
    assert list(entries(path))[:-1] == complete
    assert list(entries(path))[-1]["kind"] == "note"


def test_what_stands_in_a_ledger_is_never_changed(world):
    path = rolled_out(world, 2)
    before = path.read_bytes()
    world.tick()
    assert path.read_bytes().startswith(before)


def test_a_note_may_say_anything(tmp_path):
    ledger = Ledger(tmp_path / "new" / "ledger.jsonl")
    said = 'He said "no"\nand left — for good.'
    ledger.note(1_000.0, said)
    assert [entry["sentence"] for entry in entries(ledger.path)] == [said]
    assert list(story(ledger.path)) == [f"00:16:40  note      {said}"]


def test_a_tick_that_failed_on_the_way_is_taken_again_and_the_replay_follows(world, monkeypatch):
    world.behaviour[2] = Version(error_rate=0.3)
    path = world.service.ledger_file(world.release(2, replace(FAST, shadow=False)))
    route = world.router.route

    def refuse(*_):
        raise PlatformError("Envoy does not answer.")

    monkeypatch.setattr(world.router, "route", refuse)
    with pytest.raises(PlatformError):
        world.run_out()
    monkeypatch.setattr(world.router, "route", route)
    world.run_out()
    numbers = [entry["observation"]["tick"] for entry in entries(path) if entry["kind"] == "tick"]
    assert len(numbers) == len(set(numbers)) + 1
    assert all(recorded == again for recorded, again in replay(path))
    assert world.service.status().outcome is Action.ROLL_BACK


def test_another_policy_may_be_tried_on_the_same_counts(world):
    path = rolled_out(world, 4)
    world.run_out()
    patient = [again for _, again in replay(path, replace(FAST, shadow_s=1_000.0))]
    assert world.service.status().outcome is Action.PROMOTE
    assert Action.PROMOTE not in {decision.action for decision in patient}


def test_a_ledger_is_read_by_anything_that_reads_json_lines(world):
    path = rolled_out(world, 2)
    first, *_, last = [json.loads(line) for line in path.read_text().splitlines()]
    assert first["attempt"]["version"] == 2
    assert {"action", "weights", "sentence", "e_value"} <= last["decision"].keys()
