"""What a service does with labels, and with a pod that is to be taken out."""

from contextlib import nullcontext
from dataclasses import replace

import pytest

from core_market import GRID, Version
from perch.core.paired import spread
from perch.core.policy import Labels
from perch.core.types import Action, Arm, Cohort, Counts, Judgement, Outcomes
from perch.errors import PlatformError, RolloutError
from perch.rollout import running as running_module
from perch.rollout import service as service_module
from perch.rollout.backtest import backtest
from perch.rollout.ledger import entries, read
from perch.settings.schema import Events
from service_world import FAST, World, registered

WATCHED = replace(FAST, labels=Labels.WATCHED, shadow_s=30)
WORSE = Outcomes(paired=spread([2.0] * 10))
FINE = Outcomes(paired=spread([-0.2] * 300))
CLICK = Outcomes(cohorts=(Cohort(0.5, 1, 0),))


@pytest.fixture(autouse=True)
def _no_drain(monkeypatch):
    monkeypatch.setattr(running_module, "_DRAIN_S", 0.0)


@pytest.fixture
def registry(tmp_path):
    return registered(tmp_path, 1, 2, log_loss=0.1)


@pytest.fixture
def world(registry, tmp_path):
    with World(registry, tmp_path / "service") as world:
        yield world


def record(world, name):
    return read(world.service.ledger_file(name))


def told(world, name):
    """What the notes of a ledger say."""
    return [entry["sentence"] for entry in entries(world.service.ledger_file(name)) if entry["kind"] == "note"]


def handed_out(world, name):
    """Pairs and clicks in the ticks that count."""
    outcomes = [tick.observation.outcomes or Outcomes() for tick in record(world, name).ticks]
    clicks = sum(cohort.canary + cohort.stable for one in outcomes for cohort in one.cohorts)
    return round(sum(sum(one.paired) for one in outcomes), 6), clicks


def test_labels_that_are_much_worse_bring_a_canary_home(world):
    name = world.release(2, WATCHED)
    for _ in range(3):
        world.tick()
        world.labels.known.append(WORSE)
    world.run_out()
    status = world.service.status()
    assert status.outcome is Action.ROLL_BACK
    assert "where both versions scored a request the canary's log loss is more than" in status.sentence
    assert backtest(record(world, name), WATCHED).exact


def test_promotion_that_requires_labels_waits_for_good_ones(world):
    world.release(2, replace(FAST, labels=Labels.REQUIRED))
    for _ in range(60):
        world.tick()
    assert world.router.weights().canary == pytest.approx(0.5, abs=0.01)
    for _ in range(10):
        world.labels.known.append(FINE)
    world.run_out()
    assert world.service.status().outcome is Action.PROMOTE


def test_nobody_asks_for_labels_that_are_ignored(world):
    world.labels.known.append(WORSE)
    name = world.release(2)
    world.tick()
    assert [tick.observation.outcomes for tick in record(world, name).ticks] == [None]


def test_a_source_that_is_away_stops_nothing_and_its_labels_come_later(world):
    name = world.release(2, WATCHED)
    world.labels.known.append(CLICK)
    world.labels.is_away = True
    for _ in range(3):
        world.tick()
    assert handed_out(world, name) == (0, 0)
    assert [tick.observation.outcomes for tick in record(world, name).ticks] == [None] * 3
    world.labels.is_away = False
    world.tick()
    assert handed_out(world, name) == (0, 1)


@pytest.mark.parametrize("crash", ["between ticks", "before saving", "after saving"])
def test_no_crash_counts_a_label_twice_or_loses_one(world, monkeypatch, crash):
    name = world.release(2, WATCHED)
    save = world.store.save
    for i in range(12):
        world.labels.known += [CLICK, FINE]
        if i % 3 == 1:
            with monkeypatch.context() as patch:
                patch.setattr(world.store, "save", lambda standing: killed(crash, save, standing))
                if crash == "between ticks":
                    world.tick()
                else:
                    with pytest.raises(RuntimeError, match="killed"):
                        world.tick()
            world.start()
    world.tick()
    assert handed_out(world, name) == (12 * 300, 12)
    assert backtest(record(world, name), WATCHED).exact


async def killed(crash, save, standing):
    if crash != "before saving":
        await save(standing)
    if crash != "between ticks":
        raise RuntimeError("killed")


def test_a_release_that_requires_labels_which_nobody_collects_is_refused(world):
    world.labels = None
    world.start()
    with pytest.raises(RolloutError, match=r"nobody collects outcomes here.*labels: watched"):
        world.release(2, replace(FAST, labels=Labels.REQUIRED))
    assert not world.service.rolling


JUDGED = replace(FAST, external_judge=True, shadow_s=600.0)


@pytest.mark.parametrize(
    ("has_judge", "collects", "inputs_share", "says"),
    [
        (False, True, 0.5, "nobody judges here"),
        (True, False, 0.5, "nobody judges"),
        (True, True, 0.0, "`featuresShare`"),
    ],
)
def test_a_release_that_counts_on_a_judge_who_could_say_nothing_is_refused(
    world, has_judge, collects, inputs_share, says
):
    world.has_judge, world.events = has_judge, Events(featuresShare=inputs_share)
    world.labels = world.labels if collects else None
    world.start()
    with pytest.raises(RolloutError, match=f"externalJudge: true.*{says}"):
        world.release(2, JUDGED)
    assert not world.service.rolling


@pytest.fixture
def judged_world(world):
    """Somebody judges."""
    world.has_judge = True
    world.start()
    return world


def test_judgements_bring_a_canary_home_with_what_they_found(judged_world):
    world = judged_world
    name = world.release(2, JUDGED)
    assert world.service.is_judged
    for _ in range(3):
        world.tick()
        world.labels.judged.append(Judgement(1e-7, "column age differs most"))
    world.run_out()
    status = world.service.status()
    assert status.outcome is Action.ROLL_BACK
    assert "is given other inputs than the champion: column age differs most; evidence" in status.sentence
    assert backtest(record(world, name), JUDGED).exact
    assert not world.service.is_judged


def test_each_judgement_counts_once_whatever_crashes(judged_world, monkeypatch):
    world = judged_world
    name = world.release(2, JUDGED)
    save = world.store.save
    for crash in ("between ticks", "before saving", "after saving"):
        world.labels.judged.append(Judgement(0.5, crash))
        with monkeypatch.context() as patch:
            patch.setattr(world.store, "save", lambda standing, crash=crash: killed(crash, save, standing))
            with nullcontext() if crash == "between ticks" else pytest.raises(RuntimeError, match="killed"):
                world.tick()
        world.start()
    world.tick()
    told = [judgement.finding for tick in record(world, name).ticks for judgement in tick.observation.judgements]
    assert told == ["between ticks", "before saving", "after saving"]


def test_nobody_asks_for_judgements_that_the_policy_does_not_count_on(judged_world):
    world = judged_world
    name = world.release(2, WATCHED)
    world.labels.judged.append(Judgement(1e-7))
    world.tick()
    assert [tick.observation.judgements for tick in record(world, name).ticks] == [()]
    assert not world.service.is_judged


@pytest.mark.parametrize(
    ("collects", "policy", "log_loss", "untested"),
    [
        (False, WATCHED, 0.1, "outcomes, for nobody collects them here"),
        (True, replace(WATCHED, shadow=False), 0.1, "for the policy mirrors none"),
        (True, WATCHED, None, "for the champion's evaluation does not say what log loss is usual"),
        (True, WATCHED, 0.1, None),
        (False, FAST, None, None),
    ],
)
def test_the_ledger_notes_what_labels_cannot_tell(tmp_path, collects, policy, log_loss, untested):
    registry = registered(tmp_path, 1, 2, **({"log_loss": log_loss} if log_loss else {}))
    with World(registry, tmp_path / "service") as world:
        if not collects:
            world.labels = None
            world.start()
        notes = [note for note in told(world, world.release(2, policy)) if "score" not in note or "log loss" in note]
    assert [note.startswith("Not tested in this rollout: ") for note in notes] == [True] * bool(untested)
    assert untested is None or untested in notes[0]


LIVE = replace(FAST, shadow=False, start_weight=0.2)


@pytest.fixture
def sick_pod(world, monkeypatch):
    """The canary is two pods, of which `b` fails half of its requests until it is taken out."""
    observe = service_module.observe

    def by_pod(*arguments, **options):
        observation, totals = observe(*arguments, **options)
        pods = {"a": Version()} if world.fleet.ejected else {"a": Version(), "b": Version(error_rate=0.5)}
        counted = {name: pod.serve(40 // len(pods), world.rng) for name, pod in pods.items()}
        arms = {**observation.arms, Arm.CANARY: sum(counted.values(), start=Counts.none(GRID))}
        return replace(observation, arms=arms, pods={Arm.CANARY: counted}), totals

    monkeypatch.setattr(service_module, "observe", by_pod)


@pytest.mark.usefixtures("sick_pod")
def test_a_convicted_pod_is_taken_out_of_its_version_and_a_person_is_told(world):
    name = world.release(2, LIVE)
    for _ in range(6):
        world.tick()
    assert world.fleet.ejected == {(2, "b")}
    (note,) = [sentence for sentence in told(world, name) if "Pod" in sentence]
    assert note == "Pod b of version 2 is to be taken out: it does worse than the version's other pods."
    assert world.told.count(note) == 1
    assert world.service.rolling


@pytest.mark.usefixtures("sick_pod")
def test_a_fleet_that_cannot_take_a_pod_out_stops_nothing_and_says_why(world, monkeypatch):
    async def cannot(*_):
        raise PlatformError("There is nothing to eject.")

    monkeypatch.setattr(world.fleet, "eject", cannot)
    name = world.release(2, LIVE)
    while not world.told:
        world.tick()
    assert world.told[0].startswith("Pod b of version 2 is to be taken out")
    assert world.told[0].endswith("There is nothing to eject.")
    assert world.told[0] in told(world, name)
    assert world.service.rolling
