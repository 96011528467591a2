"""What the ledgers of a service tell of its past, and what its next release makes of that."""

import json
import shutil
from dataclasses import replace

import pytest

from core_market import Version
from perch.core import Cause
from perch.core.types import Action, Command
from perch.errors import RolloutError, UsageError
from perch.rollout import running as running_module
from perch.rollout.history import find_ledger, history, last_without_promotion, next_name
from perch.rollout.ledger import entries, read
from perch.rollout.story import story
from service_world import FAST, World, registered

BAD = Version(error_rate=0.3)


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr(running_module, "_DRAIN_S", 0.0)
    registry = registered(tmp_path, 1, 2, 3, 4)
    with World(registry, tmp_path / "service") as world:
        yield world


def sent_home(world, version, **options):
    world.behaviour[version] = BAD
    name = world.release(version, **options)
    world.run_out()
    return name


def called_back(world, version, **options):
    name = world.release(version, **options)
    world.service.command(Command.ROLL_BACK)
    world.tick()
    return name


def retry(world, policy=FAST, **options):
    return world.loop.run(world.service.retry(policy, world.now_s, **options))


def notes(world, name):
    return [entry["sentence"] for entry in entries(world.service.ledger_file(name)) if entry["kind"] == "note"]


# --- history --------------------------------------------------------------------------------------------------------


def test_all_rollouts_are_listed_newest_first_with_how_they_ended(world):
    sent_home(world, 2)
    called_back(world, 3)
    world.release(4)
    newest, middle, oldest = history(world.folder).rollouts
    assert [oldest.name, middle.name, newest.name] == ["v2-1", "v3-1", "v4-1"]
    assert (oldest.outcome, oldest.cause) == (Action.ROLL_BACK, Cause.HARM)
    assert (middle.outcome, middle.cause) == (Action.ROLL_BACK, Cause.PERSON)
    assert (newest.outcome, newest.sentence) == (None, "No tick was taken yet.")
    assert oldest.sentence == world.registry.get("ad-clicks", 2).quarantine
    assert oldest.served.bad == 0 < oldest.served.mirrored


def test_what_a_summary_counts_is_what_the_ticks_counted(world):
    world.behaviour[2] = BAD
    name = world.release(2, replace(FAST, shadow=False))
    decisions = world.run_out()
    (told,) = history(world.folder).rollouts
    ticks = read(world.service.ledger_file(name)).ticks
    assert told.served.live == sum(tick.observation.arms["canary"].finished for tick in ticks)
    assert 0 < told.served.bad <= told.served.live
    assert told.last_s - told.began_s == len(decisions)


def test_a_ledger_that_cannot_be_read_hides_no_other(world):
    called_back(world, 2)
    called_back(world, 3)
    path = world.service.ledger_file("v2-1")
    path.write_text(path.read_text().replace('"schema": 2', '"schema": 1'))
    past = history(world.folder)
    assert [rollout.name for rollout in past.rollouts] == ["v3-1"]
    assert len(past.unreadable) == 1
    assert "ledger schema 1" in past.unreadable[0]


def damage(path, place, change):
    """Change the entry at this place."""
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    change(entries[place])
    path.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))


@pytest.mark.parametrize(
    ("place", "change"),
    [
        (0, lambda begin: begin["attempt"]["state"].pop("reference")),
        (0, lambda begin: begin["attempt"]["state"].update(started_s=1e300)),
        (0, lambda begin: begin["attempt"]["state"].update(started_s=float("nan"))),
        (0, lambda begin: begin["attempt"]["state"].update(started_s=10**400)),
        (0, lambda begin: begin["attempt"]["policy"].update(alpha=2.0)),
        (0, lambda begin: begin.update(attempt=[])),
        (-1, lambda tick: tick.pop("decision")),
        (-1, lambda tick: tick.update(decision="hold")),
        (-1, lambda tick: tick.update(outcome="lost")),
        (-1, lambda tick: tick["observation"].update(now_s=1e300)),
    ],
)
def test_a_damaged_ledger_is_told_in_a_sentence_beside_the_others(world, place, change):
    called_back(world, 2)
    called_back(world, 3)
    path = world.service.ledger_file("v2-1")
    damage(path, place, change)
    past = history(world.folder)
    assert [rollout.name for rollout in past.rollouts] == ["v3-1"]
    assert [sentence.partition(" ")[0] for sentence in past.unreadable] == [str(path)]
    with pytest.raises(RolloutError, match=f"^{path} (is damaged|cannot be read): "):
        read(path)


def test_a_folder_in_place_of_a_ledger_hides_no_other(world):
    called_back(world, 2)
    (world.folder / "rollouts" / "v3-1" / "ledger.jsonl").mkdir(parents=True)
    past = history(world.folder)
    assert [rollout.name for rollout in past.rollouts] == ["v2-1"]
    assert "v3-1" in past.unreadable[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry.pop("decision"),
        lambda entry: entry["decision"].pop("weights"),
        lambda entry: entry.update(decision="hold"),
        lambda entry: entry["decision"].update(weights=[1]),
        lambda entry: entry["observation"].update(now_s=1e300),
        lambda entry: entry["observation"].update(now_s="noon"),
    ],
)
def test_the_story_of_a_damaged_ledger_is_told_up_to_there_and_ends_with_a_sentence(world, change):
    path = world.service.ledger_file(called_back(world, 2))
    damage(path, -1, change)
    told = story(path)
    assert next(told).startswith("Rollout v2-1")
    with pytest.raises(RolloutError, match=f"^{path} is damaged: an entry does not hold what it should"):
        list(told)


def test_the_last_ledger_is_that_of_the_rollout_that_began_last(world):
    for version in (3, 2):
        called_back(world, version)
    world.service.ledger_file("v3-1").touch()
    assert find_ledger(world.folder, None) == world.service.ledger_file("v2-1")
    assert find_ledger(world.folder, "v3-1") == world.service.ledger_file("v3-1")
    with pytest.raises(UsageError, match=r"no rollout v9-1\. Recorded, oldest first: v3-1, v2-1"):
        find_ledger(world.folder, "v9-1")


def test_a_service_without_rollouts_has_no_history(tmp_path):
    assert history(tmp_path / "nowhere").rollouts == ()
    for name in (None, "v2-1"):
        with pytest.raises(UsageError, match="perch rollout start"):
            find_ledger(tmp_path, name)


def test_removing_a_ledger_forgets_it_and_no_name_is_given_twice(world):
    for _ in range(3):
        called_back(world, 2)
    shutil.rmtree(world.folder / "rollouts" / "v2-1")
    assert [rollout.name for rollout in history(world.folder).rollouts] == ["v2-3", "v2-2"]
    assert next_name(world.folder, 2) == "v2-4"
    assert next_name(world.folder, 20) == "v20-1"


# --- retry ----------------------------------------------------------------------------------------------------------


def test_a_retry_releases_the_same_version_under_a_new_name_and_the_ledger_says_of_which(world):
    called_back(world, 2)
    assert retry(world) == "v2-2"
    assert world.service.status().retry_of == "v2-1"
    assert next(story(world.service.ledger_file("v2-2"))).startswith("Rollout v2-2, a retry of v2-1: version 2 asks")
    world.start()
    world.run_out()
    assert history(world.folder).rollouts[0].retry_of == "v2-1"
    assert world.service.status().outcome is Action.PROMOTE


def test_a_retry_of_a_quarantined_version_says_why_it_came_home_and_needs_the_override(world):
    sent_home(world, 2)
    reason = history(world.folder).rollouts[0].sentence
    with pytest.raises(RolloutError, match="quarantine") as refused:
        retry(world)
    assert reason in str(refused.value)
    assert "--override" in str(refused.value)
    assert retry(world, override=True) == "v2-2"
    assert any("A person insisted" in note and reason in note for note in notes(world, "v2-2"))


def test_what_ended_in_promotion_is_not_what_is_retried(world):
    called_back(world, 3)
    world.release(2)
    world.run_out()
    assert retry(world) == "v3-2"


def test_without_anything_to_retry_that_is_said(world):
    with pytest.raises(RolloutError, match="nothing to retry"):
        retry(world)
    world.release(2)
    with pytest.raises(RolloutError, match="v2-1 is still in progress"):
        retry(world)
    world.run_out()
    with pytest.raises(RolloutError, match="nothing to retry"):
        last_without_promotion(history(world.folder).rollouts)


# --- repeated rollbacks ---------------------------------------------------------------------------------------------

TWICE = replace(FAST, rollback_limit=2, rollback_window_s=300.0)


def test_a_service_that_keeps_coming_home_takes_no_release_until_the_window_has_passed(world):
    sent_home(world, 2)
    sent_home(world, 3)
    world.start()  # and a restart forgets nothing
    with pytest.raises(RolloutError, match=r"2 times since .* \(v2-1, v3-1\).*until .*--override"):
        world.release(4, TWICE)
    assert not world.service.rolling
    world.now_s += 300
    assert world.release(4, TWICE) == "v4-1"
    assert not any("insisted" in note for note in notes(world, "v4-1"))


def test_a_person_may_insist_on_a_release_and_the_ledger_says_against_what(world):
    sent_home(world, 2)
    sent_home(world, 3)
    assert world.release(4, TWICE, override=True) == "v4-1"
    assert any("A person insisted" in note and "2 times since" in note for note in notes(world, "v4-1"))


def test_both_objections_are_told_at_once(world):
    sent_home(world, 2)
    sent_home(world, 3)
    with pytest.raises(RolloutError, match=r"Version 3 is in quarantine: .* 2 times since"):
        world.release(3, TWICE)


def test_rollbacks_that_a_person_asked_for_do_not_count(world):
    called_back(world, 2)
    called_back(world, 3)
    assert world.release(4, TWICE) == "v4-1"
