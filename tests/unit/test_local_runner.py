"""A workflow runs here as Argo would run it."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from perch.errors import PerchError, UsageError
from perch.workflows.local import process
from perch.workflows.local.memory import Memory
from perch.workflows.local.plan import Templates
from perch.workflows.local.runner import Runner
from small_workflow import small

TESTS = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(process, "_seconds", lambda text: 0.0)


@pytest.fixture
def memory(tmp_path):
    return Memory(tmp_path / "state")


@pytest.fixture
def notes(tmp_path):
    (tmp_path / "notes").mkdir()
    return tmp_path / "notes"


def lines(notes):
    return (notes / "lines").read_text().splitlines()


@pytest.fixture
def runner(memory, notes):
    def runner(run, progress=lambda run: None):
        known = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
        environment = {"PYTHONPATH": known, "NOTES": str(notes)}
        return Runner(Templates([small().to_dict()]), memory, run, environment, progress).run()

    return runner


def begin(memory, text="a bb", lock="lock"):
    return memory.begin("small", {"text": text, "lock": lock})


def test_steps_run_in_order_and_give_their_outputs_to_those_that_ask(memory, runner, notes):
    phases = []
    run = begin(memory)
    outputs = asyncio.run(runner(run, lambda run: phases.append(run.phase)))
    assert outputs == {"sum": str(len("a") + len("bb") + 2 * len("a-bb"))}
    assert lines(notes)[:2] == ["split", "keep"]
    assert lines(notes)[-2:] == ["add", "bye small-1 Succeeded []"]
    assert {node.phase for node in run.nodes.values()} == {"Succeeded"}
    assert set(run.nodes) == {"split", "keep", "work(a)", "work(bb)", "add", "exit"}
    assert phases[-1] == "Succeeded"


def test_a_step_that_fails_ends_the_workflow_in_its_own_words_and_with_its_own_code(memory, runner, notes):
    run = begin(memory, "fine wrong")
    with pytest.raises(PerchError, match="the word is wrong: choose another") as raised:
        asyncio.run(runner(run))
    assert raised.value.exit_code == 4
    assert "add" not in lines(notes)
    (bye,) = (line for line in lines(notes) if line.startswith("bye"))
    assert "Failed" in bye
    assert "the word is wrong" in json.loads(bye.partition("Failed ")[2])[0]["message"]
    assert (notes / "tries-wrong").read_text() == "x", "what would fail again is not tried again"


def test_a_failed_run_goes_on_where_it_stopped(memory, runner, notes):
    with pytest.raises(PerchError):
        asyncio.run(runner(begin(memory, "fine wrong")))
    (notes / "mended").touch()
    run = memory.last("small")
    asyncio.run(runner(run))
    assert run.phase == "Succeeded"
    assert run.name == "small-1"
    assert lines(notes).count("split") == 1
    assert lines(notes).count("end fine lock") == 1
    with pytest.raises(UsageError, match="has succeeded"):
        memory.last("small")


def test_a_step_that_was_killed_is_run_again(memory, runner, notes):
    run = begin(memory, "killed")
    asyncio.run(runner(run))
    assert run.phase == "Succeeded"
    assert (notes / "tries-killed").read_text() == "xx"


def test_what_was_made_of_the_same_is_not_made_again_as_long_as_it_is_there(memory, runner, notes):
    asyncio.run(runner(begin(memory)))
    second = begin(memory)
    asyncio.run(runner(second))
    assert second.nodes["keep"].phase == "Remembered"
    assert lines(notes).count("keep") == 1
    asyncio.run(runner(begin(memory, "other words")))
    assert lines(notes).count("keep") == 2


def test_steps_with_a_mutex_never_run_beside_each_other_also_of_two_runs(memory, runner, notes):
    async def both():
        await asyncio.gather(*(runner(begin(memory, "slow", lock="same")) for _ in range(2)))

    asyncio.run(both())
    worked = [line for line in lines(notes) if "slow" in line]
    assert worked == ["begin slow same", "end slow same"] * 2


def test_a_run_is_gone_on_with_by_one_alone(memory):
    run = begin(memory)
    with memory.alone(run), pytest.raises(UsageError, match="is running already"), memory.alone(run):
        pass


def test_a_run_that_was_broken_off_can_be_gone_on_with(memory, runner, notes):
    run = begin(memory, "slow")

    async def broken_off():
        begun = asyncio.Event()
        task = asyncio.create_task(runner(run, lambda run: begun.set() if "work(slow)" in run.nodes else None))
        await begun.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(broken_off())
    assert run.phase == "Cancelled"
    assert "end slow lock" not in lines(notes)
    asyncio.run(runner(memory.last("small")))
    assert lines(notes).count("split") == 1
    assert lines(notes).count("end slow lock") == 1


def test_only_the_last_runs_are_kept(memory):
    for _ in range(8):
        begin(memory)
    kept = sorted(path.name for path in (memory.folder(begin(memory)).parent).glob("small-*"))
    assert kept == ["small-5", "small-6", "small-7", "small-8", "small-9"]


@pytest.mark.parametrize("key", ["when", "withSequence", "continueOn"])
def test_what_only_argo_understands_is_refused_when_it_is_read(key):
    template = small().to_dict()
    main = next(one for one in template["spec"]["templates"] if one["name"] == "main")
    main["dag"]["tasks"][0][key] = "anything"
    with pytest.raises(UsageError, match=key):
        Templates([template]).tasks(("perch-small", "main"))


def test_a_workflow_that_nobody_knows_is_named_with_those_there_are():
    with pytest.raises(UsageError, match=r"no workflow 'large'\. Known: small"):
        Templates([small().to_dict()]).workflow("perch-large")
