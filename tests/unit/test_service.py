import asyncio
import threading
from dataclasses import replace
from errno import ENOSPC
from itertools import pairwise

import pytest

from core_market import Version
from perch.adapters.fleet.memory import MemoryFleet
from perch.adapters.registry.memory import MemoryRegistry
from perch.adapters.registry.port import Role
from perch.adapters.registry.threads import in_registry_thread
from perch.core.types import Action, Arm, Command, Phase, Weights
from perch.errors import PlatformError, RegistryError, RolloutError
from perch.rollout import running as running_module
from perch.rollout import settling as settling_module
from perch.rollout.backtest import backtest
from perch.rollout.ledger import Ledger, entries, read
from perch.rollout.story import story
from service_world import FAST, World, registered

BAD = Version(error_rate=0.3)


@pytest.fixture(autouse=True)
def _no_drain(monkeypatch):
    monkeypatch.setattr(running_module, "_DRAIN_S", 0.0)


@pytest.fixture
def registry(tmp_path):
    return registered(tmp_path, 1, 2, 3)


@pytest.fixture
def world(registry, tmp_path):
    with World(registry, tmp_path / "service") as world:
        yield world


def champion(world):
    return world.registry.holder("ad-clicks", Role.CHAMPION).version


def promoted(world, version=2):
    world.release(version)
    world.run_out()
    assert champion(world) == version
    return world


def test_a_good_version_becomes_the_champion_and_takes_the_stable_arm(world):
    promoted(world)

    assert world.service.status().arms == {"stable": 2, "baseline": 1}
    assert world.router.weights() == Weights(baseline=0.02, stable=0.98)
    assert world.service.status().outcome is Action.PROMOTE


def test_a_harmful_version_goes_home_is_stopped_and_quarantined(world):
    promoted(world)
    world.behaviour[3] = BAD
    world.release(3, FAST)
    world.run_out()

    assert world.service.status().outcome is Action.ROLL_BACK
    assert world.router.weights().canary == 0
    assert champion(world) == 2
    assert 3 not in world.fleet.endpoints()
    assert "evidence" in world.registry.get("ad-clicks", 3).quarantine


def test_a_quarantined_version_needs_an_override(world):
    world.behaviour[2] = BAD
    world.release(2)
    world.run_out()

    with pytest.raises(RolloutError, match=r"quarantine.*--override"):
        world.release(2)
    assert world.release(2, override=True) == "v2-2"


def test_a_second_rollout_waits_for_the_first(world):
    world.release(2)
    with pytest.raises(RolloutError, match="v2-1 is still in progress"):
        world.release(3)


def test_the_champion_is_not_rolled_out_again(world):
    with pytest.raises(RolloutError, match="champion already"):
        world.release(1)


def test_an_unknown_version_moves_nothing(world):
    before = world.router.weights()
    with pytest.raises(RegistryError):
        world.release(99)
    assert world.router.weights() == before
    assert not world.service.rolling


def test_a_version_that_does_not_come_up_moves_nothing(world):
    world.fleet._broken = frozenset({2})
    with pytest.raises(Exception, match="does not come up"):
        world.release(2)
    assert not world.service.rolling


def test_without_a_baseline_there_is_nothing_to_serve(tmp_path):
    with pytest.raises(RolloutError, match="perch train"):
        World(MemoryRegistry(), tmp_path / "service")


def test_both_versions_failing_after_promotion_falls_back_to_the_baseline(world):
    promoted(world)
    world.release(3)
    while world.service.status().phase is not Phase.GUARD:
        world.tick()
    world.behaviour[2] = world.behaviour[3] = BAD
    world.run_out()

    assert world.service.status().outcome is Action.FALL_BACK
    assert champion(world) == 1
    assert world.service.status().arms == {"stable": 1}
    assert world.registry.get("ad-clicks", 2).quarantine
    assert world.registry.get("ad-clicks", 3).quarantine


def test_a_person_can_pause_and_roll_back(world):
    world.release(2)
    world.service.command(Command.PAUSE)
    world.tick()
    assert world.service.status().paused
    world.service.command(Command.ROLL_BACK)
    world.tick()

    assert world.service.status().outcome is Action.ROLL_BACK
    assert world.registry.get("ad-clicks", 2).quarantine is None


def test_the_story_tells_what_a_person_asked_for(world):
    name = world.release(2)
    for command in (Command.PAUSE, Command.RESUME, Command.ROLL_BACK):
        world.tick()
        world.service.command(command)
        world.tick()
    told = [line[10:] for line in story(world.service.ledger_file(name)) if "A person asked" in line]
    assert told == [f"note      A person asked for it: {deed}." for deed in ("pause", "resume", "roll back")]


def test_a_command_without_a_rollout_is_refused(world):
    with pytest.raises(RolloutError, match="nothing to roll back"):
        world.service.command(Command.ROLL_BACK)


def test_a_registry_that_is_away_delays_the_role_and_stops_nothing(world, monkeypatch):
    away = True
    assign = MemoryRegistry.assign

    def unreliable(*arguments):
        if away:
            raise RegistryError("The registry does not answer.")
        assign(*arguments)

    monkeypatch.setattr(MemoryRegistry, "assign", unreliable)
    world.release(2)
    world.run_out()
    assert world.service.status().outcome is Action.PROMOTE
    assert any("tries again" in sentence for sentence in world.told)
    away = False
    world.tick()
    assert champion(world) == 2


@pytest.mark.parametrize("behaviour", [Version(), BAD], ids=["good", "bad"])
@pytest.mark.parametrize("every", [1, 3, 7])
def test_a_restart_after_any_tick_ends_the_same(registry, tmp_path, behaviour, every):
    ends = []
    for crashes in (False, True):
        with World(registry, tmp_path / f"service-{crashes}") as world:
            world.behaviour[2] = behaviour
            world.release(2, override=True)
            ticks = 0
            while world.service.rolling:
                world.tick()
                ticks += 1
                if crashes and ticks % every == 0:
                    world.start()
            ends.append((world.service.status().outcome, ticks, world.service.status().sentence))
        registry.assign("ad-clicks", Role.CHAMPION, 1)
    assert ends[0] == ends[1]


def test_a_crash_between_routing_and_recording_serves_no_harm_again(world, monkeypatch):
    world.behaviour[2] = Version(error_rate=0.1)
    world.release(2, replace(FAST, shadow=False))
    save = world.store.save

    async def killed_at_the_end(standing):
        if not standing.rolling:
            raise RuntimeError("killed")
        await save(standing)

    monkeypatch.setattr(world.store, "save", killed_at_the_end)
    with pytest.raises(RuntimeError, match="killed"):
        world.run_out()
    assert world.router.weights().canary == 0
    monkeypatch.setattr(world.store, "save", save)
    world.start()
    assert world.router.weights().canary == 0
    assert world.tick().action is Action.ROLL_BACK


def test_a_crash_between_a_fallback_and_its_record_leaves_the_traffic_at_the_baseline(world, monkeypatch):
    promoted(world)
    world.release(3)
    while world.service.status().phase is not Phase.GUARD:
        world.tick()
    world.behaviour[2] = world.behaviour[3] = BAD
    save = world.store.save

    async def killed_at_the_end(standing):
        if not standing.rolling:
            raise RuntimeError("killed")
        await save(standing)

    with monkeypatch.context() as patch:
        patch.setattr(world.store, "save", killed_at_the_end)
        with pytest.raises(RuntimeError, match="killed"):
            world.run_out()
    world.start()
    assert world.router.weights().baseline == 1
    assert world.router.endpoints[Arm.BASELINE] == world.fleet.endpoints()[1]
    assert world.tick().action is Action.FALL_BACK


def test_an_opened_service_raises_no_weight_before_a_tick_has_seen_the_canary(world, monkeypatch):
    world.release(2, replace(FAST, shadow=False))
    while world.router.weights().canary < 0.1:
        world.tick()
    recorded = world.router.weights()
    world.router.route(world.router.endpoints, Weights(baseline=0.0, stable=0.99, canary=0.01))
    world.start()
    read = world.source.read

    async def late():
        return {**await read(), "2": None}

    with monkeypatch.context() as patch:
        patch.setattr(world.source, "read", late)
        for _ in range(3):
            world.tick()
            assert world.router.weights().canary == 0.01
    world.tick()
    assert world.router.weights().canary >= recorded.canary


def killed_with_everything_it_started(world, broken=()):
    """The service begins again on a machine where nothing runs, and the versions that are `broken` do not come up."""
    world.fleet = MemoryFleet(broken=frozenset(broken))
    world.source.totals.clear()


@pytest.mark.parametrize("phase", [Phase.SHADOW, Phase.RAMP, Phase.GUARD])
def test_a_canary_that_does_not_come_up_again_stops_nothing_and_goes_home(world, phase):
    name = world.release(2)
    while world.service.status().phase is not phase:
        world.tick()
    killed_with_everything_it_started(world, broken={2})
    world.start()
    assert world.router.weights() == Weights(stable=1.0)
    assert len(world.run_out()) <= 15
    assert any(told.startswith("The canary does not come up again") for told in world.told)
    assert world.service.status().sentence.startswith("Rolled back: the canary is silent, for it is down; ")
    assert world.registry.get("ad-clicks", 2).quarantine is None
    record = read(world.service.ledger_file(name))
    assert backtest(record, record.attempt.policy).exact


class SlowFleet(MemoryFleet):
    """Version 2 comes up when it is told to."""

    def __init__(self, broken=frozenset()):
        super().__init__(broken)
        self.may_come_up, self.called_off = asyncio.Event(), False

    async def start(self, version):
        if version == 2:
            try:
                await self.may_come_up.wait()
            except asyncio.CancelledError:
                self.called_off = True
                raise
        await super().start(version)


def test_a_canary_that_comes_up_late_after_a_restart_is_not_blamed_for_it(world):
    world.release(2)
    while world.router.weights().canary < 0.1:
        world.tick()
    killed_with_everything_it_started(world)
    world.fleet = SlowFleet()
    world.start()
    for _ in range(10):
        assert "the counts of the canary did not arrive" in world.tick().sentence
        assert world.router.weights().canary == 0
    world.fleet.may_come_up.set()
    world.run_out()
    assert world.service.status().outcome is Action.PROMOTE


def test_a_canary_that_is_not_needed_any_more_need_not_come_up(world):
    world.release(2)
    world.fleet = SlowFleet()
    world.start()
    world.service.command(Command.ROLL_BACK)
    world.run_out()
    assert world.fleet.called_off
    assert set(world.fleet.endpoints()) == {1}


def test_a_champion_that_does_not_come_up_is_an_error_and_no_start_goes_on(world):
    world.release(2)
    world.fleet = SlowFleet(broken=frozenset({1}))
    with pytest.raises(PlatformError, match="Version 1 does not come up"):
        world.start()
    assert world.fleet.called_off


def test_a_weight_goes_down_even_where_nothing_can_be_written(world, monkeypatch):
    world.release(2, replace(FAST, shadow=False))
    while world.router.weights().canary < 0.1:
        world.tick()
    world.behaviour[2] = Version(error_rate=0.5)

    def full(*_, **__):
        raise OSError(ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "_append", full)
        for _ in range(10):
            with pytest.raises(OSError, match="No space left"):
                world.tick()
    assert world.router.weights().canary == 0
    assert world.tick().action is Action.ROLL_BACK
    assert world.service.status().outcome is Action.ROLL_BACK


def test_a_weight_is_routed_once_a_tick_and_not_at_all_where_it_stays(world, monkeypatch):
    world.release(2)
    routed, route = [], world.router.route

    def counting(*to):
        routed.append(to)
        route(*to)

    monkeypatch.setattr(world.router, "route", counting)
    world.run_out()
    assert all(before != after for before, after in pairwise(routed))


def test_replaying_the_ledger_decides_the_same_bit_for_bit(world):
    world.behaviour[2] = BAD
    name = world.release(2)
    world.run_out()
    record = read(world.service.ledger_file(name))
    assert backtest(record, record.attempt.policy).exact


def test_a_ledger_that_was_cut_short_is_read_up_to_there(world):
    name = world.release(2)
    for _ in range(3):
        world.tick()
    path = world.service.ledger_file(name)
    whole = list(entries(path))
    path.write_text(path.read_text() + '{"schema": 2, "kind": "ti')
    assert list(entries(path)) == whole


def test_the_story_tells_each_step_and_the_reason(world):
    name = world.release(2)
    world.run_out()
    told = list(story(world.service.ledger_file(name)))
    assert told[0].startswith("Rollout v2-1: version 2 asks to replace champion 1")
    assert any("promote" in line for line in told)
    assert told[-1].split()[1:] == ["ended", "promote"]
    assert len(told) < 30


def test_a_wish_that_came_too_late_does_not_reach_the_next_rollout(world):
    world.release(2)
    world.service.command(Command.ROLL_BACK)
    world.tick()
    world.service._command = Command.PROMOTE  # said while the last tick was on its way
    world.behaviour[3] = BAD
    world.release(3)
    world.tick()
    assert world.router.weights().canary == 0


def test_nothing_overrules_the_wish_to_roll_back(world):
    world.release(2)
    world.service.command(Command.ROLL_BACK)
    world.service.command(Command.RESUME)
    world.tick()
    assert world.service.status().outcome is Action.ROLL_BACK


@pytest.mark.parametrize("phase", [Phase.RAMP, Phase.GUARD])
def test_a_canary_that_hangs_goes_home_within_seconds(world, monkeypatch, phase):
    world.release(2)
    while world.service.status().phase is not phase or world.router.weights().canary < 0.1:
        world.tick()
    read = world.source.read

    async def hung():
        return {**await read(), "2": None}

    monkeypatch.setattr(world.source, "read", hung)
    world.behaviour[2] = Version(silent=True)
    decisions = world.run_out()
    assert decisions[-1].action is Action.ROLL_BACK
    assert len(decisions) <= 15


@pytest.mark.parametrize("phase", [Phase.SHADOW, Phase.RAMP, Phase.GUARD])
def test_a_canary_whose_pod_is_gone_goes_home_without_quarantine(world, monkeypatch, phase):
    """Its node may have been drained."""
    name = world.release(2)
    while world.service.status().phase is not phase:
        world.tick()
    read_all = world.source.read

    async def gone():
        return {source: totals for source, totals in (await read_all()).items() if source != "2"}

    monkeypatch.setattr(world.source, "read", gone)
    world.behaviour[2] = Version(silent=True)
    world.fleet.kill(2)
    assert len(world.run_out()) <= 15
    status = world.service.status()
    assert status.outcome is Action.ROLL_BACK
    assert status.sentence.startswith("Rolled back: the canary is silent, for it is down; ")
    assert world.registry.get("ad-clicks", 2).quarantine is None
    record = read(world.service.ledger_file(name))
    assert backtest(record, record.attempt.policy).exact


def test_a_canary_whose_counts_come_late_loses_none_of_them(world, monkeypatch):
    world.release(2)
    while world.service.status().phase is not Phase.RAMP:
        world.tick()
    read = world.source.read

    async def late():
        return {**await read(), "2": None}

    with monkeypatch.context() as patch:
        patch.setattr(world.source, "read", late)
        for _ in range(3):
            world.tick()
    assert world.run_out()[-1].phase is Phase.DONE
    assert world.service.status().outcome is Action.PROMOTE


def test_a_route_that_fails_at_the_end_is_tried_again_before_anything_is_stopped(world, monkeypatch):
    promoted(world)
    world.release(3)
    route = world.router.route

    def failing(endpoints, weights):
        if not world.service.rolling:
            raise PlatformError("Envoy does not answer.")
        route(endpoints, weights)

    monkeypatch.setattr(world.router, "route", failing)
    with pytest.raises(PlatformError):
        world.run_out()
    for _ in range(3):
        with pytest.raises(PlatformError):
            world.tick()
    assert 2 in world.fleet.endpoints()
    monkeypatch.setattr(world.router, "route", route)
    world.tick()
    assert world.router.endpoints[Arm.STABLE] == world.fleet.endpoints()[3]


def test_a_release_waits_until_the_registry_knows_the_last_end(world, monkeypatch):
    world.behaviour[2] = BAD
    world.release(2)

    def away(*_):
        raise RegistryError("The registry does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryRegistry, "quarantine", away)
        world.run_out()
        with pytest.raises(RegistryError, match="not taken the end"):
            world.release(3)
    world.tick()
    assert world.registry.get("ad-clicks", 2).quarantine
    assert world.release(3) == "v3-1"


@pytest.fixture
def hanging(monkeypatch):
    """Makes every write of a registry hang until it is set, or the test is over."""
    answers, assign = threading.Event(), MemoryRegistry.assign
    answers.set()

    def hangs(*arguments):
        answers.wait()
        assign(*arguments)

    monkeypatch.setattr(MemoryRegistry, "assign", hangs)
    monkeypatch.setattr(settling_module, "_PATIENCE_S", 0.01)
    yield answers
    answers.set()


def test_a_registry_that_hangs_keeps_no_tick_waiting_and_no_harm_in_traffic(world, hanging):
    hanging.clear()
    world.release(2, replace(FAST, shadow=False))
    for _ in range(5):
        world.tick()
    world.behaviour[2] = BAD
    while world.service.rolling:
        world.tick()
    assert world.router.weights().canary == 0
    assert world.service.status().outcome is Action.ROLL_BACK
    assert world.registry.get("ad-clicks", 2).quarantine is None
    with pytest.raises(RegistryError, match="not taken the end of the last rollout yet"):
        world.release(3)

    hanging.set()
    while world.registry.get("ad-clicks", 2).quarantine is None:
        world.tick()
    assert champion(world) == 1
    assert world.release(3) == "v3-1"


def test_a_registry_that_hangs_is_written_to_by_one_thread_of_a_service(world, hanging):
    hanging.clear()
    world.release(2)
    before = threading.active_count()
    for _ in range(10):
        world.tick()
    assert threading.active_count() <= before + 1


def test_registries_that_hang_hold_no_thread_that_moves_traffic(hanging):
    hanging.clear()

    async def moved_meanwhile():
        calls = [asyncio.create_task(in_registry_thread(hanging.wait)) for _ in range(100)]
        moved = await asyncio.wait_for(asyncio.to_thread(lambda: True), timeout=5)
        hanging.set()
        await asyncio.gather(*calls)
        return moved

    assert asyncio.run(moved_meanwhile())


def test_counters_that_start_over_with_the_platform_lose_no_evidence(world):
    world.behaviour[2] = Version(error_rate=0.05)
    world.release(2, replace(FAST, shadow=False))
    for _ in range(4):
        world.tick()
    world.source.totals.clear()
    world.start()
    assert world.run_out()[-1].action is Action.ROLL_BACK


def test_a_version_asks_no_longer_once_its_rollout_has_ended(world):
    world.registry.assign("ad-clicks", Role.CHALLENGER, 2)
    promoted(world)
    assert world.registry.holder("ad-clicks", Role.CHALLENGER) is None


def test_a_promotion_against_a_quarantine_lifts_it(world):
    world.registry.quarantine("ad-clicks", 2, "It was slow.")
    world.release(2, override=True)
    world.run_out()
    assert world.registry.get("ad-clicks", 2).quarantine is None


def test_a_release_right_after_an_end_lets_the_tick_finish(world):
    world.release(2)
    world.service.command(Command.ROLL_BACK)

    async def end_and_release():
        ticking = asyncio.create_task(world.service.tick(world.now_s + 1))
        while world.service.rolling:  # noqa: ASYNC110  the very moment is what is tested
            await asyncio.sleep(0)
        assert not ticking.done()
        name = await world.service.release(3, FAST, world.now_s + 1)
        await ticking
        return name

    assert world.loop.run(end_and_release()) == "v3-1"
