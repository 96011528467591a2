"""A rollout may be killed anywhere: it ends the same, and no crash puts traffic where no record says why."""

import asyncio
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core_market import Version
from perch.core.types import Action, Command
from perch.rollout import running as running_module
from perch.rollout.backtest import backtest
from perch.rollout.ledger import read
from service_world import FAST, World, registered

BEHAVIOURS = {
    "good": Version(),
    "failing": Version(error_rate=0.2),
    "slow": Version(median_ms=60.0),
    "silent": Version(silent=True),
}
SHORT = replace(FAST, shadow_s=2, bake_s=5, guard_s=5, ramp_interval_s=1)
LONGEST = 120

pytestmark = pytest.mark.usefixtures("_no_drain")


@pytest.fixture(scope="module")
def _no_drain():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running_module, "_DRAIN_S", 0.0)
        yield


class KilledError(BaseException):
    """The process ends here."""


@contextmanager
def a_world(behaviour, seed):
    """A service of version 1 whose challenger, version 2, behaves as named."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        registry = registered(folder, 1, 2)
        with World(registry, folder / "service", seed=seed) as world:
            world.behaviour[2] = BEHAVIOURS[behaviour]
            yield world


def ended(world):
    status = world.service.status()
    roles = [registered.roles for registered in world.registry.versions("ad-clicks")]
    quarantined = [bool(registered.quarantine) for registered in world.registry.versions("ad-clicks")]
    return status.outcome, status.sentence, status.arms, world.router.weights(), roles, quarantined


def run(world, policy, crashes=frozenset(), commands=None):
    name = world.release(2, policy)
    for tick in range(LONGEST):
        if not world.service.rolling:
            break
        if command := (commands or {}).get(tick):
            world.service.command(command)
        world.tick()
        if tick in crashes:
            world.start()
    world.tick()
    world.loop.run(world.service.close())
    record = read(world.service.ledger_file(name))
    assert backtest(record, record.attempt.policy).exact
    return ended(world)


behaviours = st.sampled_from(sorted(BEHAVIOURS))
policies = st.builds(replace, st.just(SHORT), shadow=st.booleans())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    behaviour=behaviours,
    policy=policies,
    seed=st.integers(0, 5),
    crashes=st.frozensets(st.integers(0, 40), max_size=12),
    commands=st.dictionaries(st.integers(0, 30), st.sampled_from(Command), max_size=2),
)
def test_a_rollout_ends_the_same_however_often_it_is_started_again(behaviour, policy, seed, crashes, commands):
    with a_world(behaviour, seed) as undisturbed, a_world(behaviour, seed) as crashed:
        assert run(crashed, policy, crashes, commands) == run(undisturbed, policy, commands=commands)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    behaviour=behaviours,
    policy=policies,
    seed=st.integers(0, 5),
    step=st.integers(1, 60),
    place=st.sampled_from(["before routing", "after routing", "before saving", "after saving"]),
)
@example(behaviour="good", policy=SHORT, seed=0, step=10, place="before routing")  # at the end it becomes the champion
def test_a_crash_at_any_write_never_serves_what_no_record_explains(behaviour, policy, seed, step, place):
    """The `step`-th write is the last one: the service is killed before or after it, and started again."""
    with a_world(behaviour, seed) as world, pytest.MonkeyPatch.context() as patch:
        writes, route, save = 0, world.router.route, world.store.save

        @contextmanager
        def last_write():
            nonlocal writes
            writes += 1
            if writes == step and place.startswith("before"):
                raise KilledError
            yield
            if writes == step:
                raise KilledError

        def routed(*to):
            with last_write():
                route(*to)

        async def saved(standing):
            with last_write():
                await save(standing)

        if place.endswith("routing"):
            patch.setattr(world.router, "route", routed)
        else:
            patch.setattr(world.store, "save", saved)
        try:
            run(world, policy)
        except KilledError:
            check_served(world)
            patch.undo()
            killed_at = on_trial(world)
            world.start()
            opened = on_trial(world)
            assert not world.service.rolling or (opened[0] <= killed_at[0] and opened[1] <= killed_at[1])
            check_served(world)
            while world.service.rolling:
                world.tick()
        harmless = behaviour == "good"
        outcome = world.service.status().outcome
        assert outcome in ({Action.PROMOTE, None} if harmless else {Action.ROLL_BACK, None})
        assert world.router.weights().canary == 0


def on_trial(world):
    """The share of the traffic that version 2 gets, live or as a copy."""
    address, weights = world.fleet.endpoints().get(2), world.router.weights()
    live = sum(getattr(weights, arm) for arm, to in world.router.endpoints.items() if to == address)
    return live, weights.mirror


def check_served(world):
    """The version that is tried has no more traffic than the record says, which a person can read."""
    standing = asyncio.run(world.store.load())
    if standing is None or standing.attempt is None:
        assert world.router.weights().canary == 0
        return
    version, weights = standing.attempt.version, standing.weights(0.02)
    recorded = sum(getattr(weights, arm) for arm, served in standing.arms.items() if served == version)
    address = world.fleet.endpoints().get(version)
    routed = [arm for arm, to in world.router.endpoints.items() if to == address]
    assert sum(getattr(world.router.weights(), arm) for arm in routed) <= recorded + 1e-3
