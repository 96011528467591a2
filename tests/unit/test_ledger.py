"""The ledger as a file: what a crash leaves of it, and that it tells and replays the rollout all the same."""

import json
from dataclasses import replace
from errno import ENOSPC

import pytest

from core_market import Version
from perch.core.types import Action, Arm, Phase
from perch.errors import RolloutError
from perch.rollout.backtest import backtest
from perch.rollout.ledger import SCHEMA, Ledger, entries, read, read_ends
from perch.rollout.story import story
from service_world import FAST, World, registered


@pytest.fixture
def world(tmp_path):
    registry = registered(tmp_path, 1, 2)
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


@pytest.mark.parametrize(("failures", "restarted"), [(1, False), (1, True), (3, False), (3, True)])
def test_a_tick_that_failed_on_the_way_is_taken_again_and_the_replay_follows(world, monkeypatch, failures, restarted):
    world.behaviour[2] = Version(error_rate=0.3)
    path = world.service.ledger_file(world.release(2, replace(FAST, shadow=False)))
    world.tick()

    async def full(*_):
        raise OSError(ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(world.store, "save", full)
        for _ in range(failures):
            with pytest.raises(OSError, match="No space left"):
                world.tick()
    if restarted:
        world.start()
    world.run_out()
    numbers = [entry["observation"]["tick"] for entry in entries(path) if entry["kind"] == "tick"]
    assert len(numbers) == len(set(numbers)) + failures
    record = read(path)
    assert [tick.observation.tick for tick in record.ticks] == sorted(set(numbers))
    assert backtest(record, record.attempt.policy).exact
    assert world.service.status().outcome is Action.ROLL_BACK


def test_a_ledger_is_read_by_anything_that_reads_json_lines(world):
    path = rolled_out(world, 2)
    first, *_, last = [json.loads(line) for line in path.read_text().splitlines()]
    assert first["attempt"]["version"] == 2
    assert {"action", "weights", "sentence", "e_value"} <= last["decision"].keys()


def test_a_tick_tells_how_far_each_test_is_from_its_threshold(world):
    path = world.service.ledger_file(world.release(2))
    world.run_out()
    ticks = read(path).ticks
    assert all(tick.evidence.harm == tick.decision.e_value for tick in ticks)
    assert {tick.thresholds.harm for tick in ticks} == {1 / FAST.alpha}
    assert {tick.thresholds.split for tick in ticks} == {1 / FAST.sample_ratio_alpha}
    watched = [tick for tick in ticks if tick.evidence.alarm_s is not None]
    assert {tick.decision.phase for tick in watched} == {Phase.GUARD, Phase.DONE}
    assert all(tick.evidence.alarm_s < tick.thresholds.alarm_s for tick in watched)


def test_what_the_canary_answered_is_summed_over_restarts(world):
    world.behaviour[2] = Version(error_rate=0.03)
    path = world.service.ledger_file(world.release(2))
    for _ in range(8):
        world.tick()
        world.start()
    world.run_out()
    ticks = read(path).ticks
    seen = [tick.observation.arms for tick in ticks]
    last = ticks[-1].served
    assert last.mirrored == sum(arms[Arm.SHADOW].finished for arms in seen) > 0
    assert last.live == sum(arms[Arm.CANARY].finished for arms in seen)
    failed = sum(arms[Arm.CANARY].failed for arms in seen)
    assert failed <= last.bad <= last.live


def test_the_two_ends_of_a_ledger_are_those_of_the_whole(world):
    path = rolled_out(world, 3)
    world.service._ledger(world.service._standing.attempt).note(1_100.0, "Somebody looked.")
    whole, ends = read(path), read_ends(path)
    assert ends.attempt == whole.attempt
    assert ends.ticks == whole.ticks[-1:]
    begun = path.with_name("begun.jsonl")
    begun.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:1]))
    assert read_ends(begun).ticks == read(begun).ticks == ()


def test_a_line_that_was_cut_short_is_known_to_be(world):
    path = rolled_out(world, 2)
    assert not read(path).cut_short
    with path.open("a") as file:
        file.write('{"schema": 2, "ki')
    assert read(path).cut_short
    assert read_ends(path).cut_short


def edited(path, change):
    first, *others = path.read_text().splitlines(keepends=True)
    path.write_text(change(first) + "".join(others))


@pytest.mark.parametrize("reading", [read, read_ends], ids=["whole", "ends"])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda _: "", "holds no rollout"),
        (lambda line: line.replace('"schema": 2', '"schema": 3'), "ledger schema 3; this one reads 2"),
        (lambda line: line.replace('"schema": 2', '"schema": 1'), "ledger schema 1; this one reads 2"),
        (lambda line: line[:40] + "\n", "line 1 is no entry"),
        (lambda _: "[]\n", "line 1 is no entry"),
        (lambda _: "3\n", "line 1 is no entry"),
        (lambda _: '{"schema": 2}\n', "line 1 is no entry"),
        (lambda _: '{"schema": 2, "kind": "begin"}\n', r"cannot be read: Attempt should be"),
        (lambda line: line.replace('"alpha":0.01', '"alpha":"x"'), r"cannot be read: Attempt\.policy\.alpha"),
    ],
)
def test_what_is_no_ledger_of_this_schema_is_refused_with_its_path(world, change, says, reading):
    path = rolled_out(world, 2)
    edited(path, change)
    with pytest.raises(RolloutError, match=f"^{path}.*{says}"):
        reading(path)


@pytest.mark.parametrize(
    ("mixed", "says"),
    [
        (lambda begin, ticks: [begin, *ticks, begin], "it tells a second time how a rollout began"),
        (lambda begin, ticks: [begin, *ticks, ticks[0]], "tick 1 stands behind tick 3"),
        (lambda begin, ticks: [begin, ticks[1], ticks[0], ticks[2]], "tick 1 stands behind tick 2"),
    ],
    ids=["begun twice", "again from the start", "swapped"],
)
def test_a_ledger_whose_entries_are_out_of_order_is_refused(world, mixed, says):
    path = rolled_out(world, 3)
    begin, *others = path.read_text().splitlines(keepends=True)
    ticks = [line for line in others if '"kind": "tick"' in line]
    path.write_text("".join(mixed(begin, ticks)))
    with pytest.raises(RolloutError, match=f"^{path} is damaged: {says}"):
        read(path)


def test_a_ledger_without_a_whole_line_holds_no_rollout(tmp_path):
    for content in ("", '{"schema": 2, "kind": "beg'):
        path = tmp_path / "ledger.jsonl"
        path.write_text(content)
        for reading in (read, read_ends):
            with pytest.raises(RolloutError, match="holds no rollout"):
                reading(path)
