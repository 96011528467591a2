"""Many rollouts at once decide as each does alone: tick by tick, and with the same state at the end."""

import json
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import Phase as Stage
from hypothesis import given, settings
from hypothesis import strategies as st

from perch.core import Policy, begin, decide, dumps, reference
from perch.core.many import Many
from perch.core.policy import Labels
from perch.core.types import Action, Arm, Counts, Observation, Phase
from perch.errors import RolloutError
from perch.rehearsal.market import GRID, SLO, Behaviour, Market, Split, Traffic, always

ROLLOUTS = 5
ARMS = (Arm.STABLE, Arm.CANARY, Arm.SHADOW)
BEFORE = Counts(10_000, 0, (5_000, 2_500, 1_500, 500, 400, 90, 10), (0,) * 10)
REFERENCE = reference(BEFORE, GRID, SLO, ((1_000,) * 10,) * 2)
QUICK = Policy(
    shadow_s=5.0, ramp_interval_s=2.0, bake_s=8.0, min_requests=50, margin=0.05, guard_s=40.0, no_data_timeout_s=45.0
)
LIVE = replace(QUICK, shadow=False)
PROMOTED_SOON = replace(LIVE, start_weight=0.5, margin=0.2, beta=0.2)
FAILING, SILENT = Behaviour(error_rate=0.3), Behaviour(silent=True)


def from_s(start_s, behaviour, until_s=1e9):
    return lambda now_s: behaviour if start_s <= now_s < until_s else Behaviour()


@dataclass(frozen=True)
class Scenario:
    policy: Policy
    traffic: Traffic
    ticks: int
    visits: set[Phase] = field(default_factory=set)
    """Phases that some rollout comes to, or the scenario would not be what it is called."""

    set_back_at: int | None = None
    """The tick before which the clock is set back by five minutes."""

    def now_s(self, tick):
        return tick + 1.0 - (300.0 if self.set_back_at is not None and tick >= self.set_back_at else 0.0)


INCIDENT = from_s(35, FAILING, until_s=65)
SCENARIOS = {
    "healthy, from shadow to champion": Scenario(QUICK, Traffic(100.0), 110, {Phase.RAMP, Phase.GUARD, Phase.DONE}),
    "healthy, with the defaults": Scenario(Policy(), Traffic(200.0), 230, {Phase.GUARD}),
    "healthy, at 10 requests a second": Scenario(PROMOTED_SOON, Traffic(10.0), 100, {Phase.GUARD}),
    "healthy, at 1 request a second": Scenario(LIVE, Traffic(1.0), 200, {Phase.RAMP}),
    "healthy, in bursts": Scenario(QUICK, Traffic(50.0, bursts=True), 80, {Phase.RAMP}),
    "2 % errors": Scenario(LIVE, Traffic(100.0, canary=always(Behaviour(error_rate=0.02))), 150, {Phase.DONE}),
    "2 % errors in shadow": Scenario(
        QUICK, Traffic(100.0, canary=always(Behaviour(error_rate=0.02))), 60, {Phase.DONE}
    ),
    "slow": Scenario(LIVE, Traffic(100.0, canary=always(Behaviour(latency_factor=2.0))), 80, {Phase.DONE}),
    "constant scores": Scenario(QUICK, Traffic(100.0, canary=always(Behaviour(score_scale=0.0))), 10, {Phase.DONE}),
    "silent": Scenario(LIVE, Traffic(100.0, canary=always(SILENT)), 30, {Phase.DONE}),
    "silent in shadow": Scenario(QUICK, Traffic(10.0, canary=always(SILENT)), 30, {Phase.DONE}),
    "a silent champion": Scenario(LIVE, Traffic(100.0, stable=always(SILENT)), 60, {Phase.DONE}),
    "first the champion pauses, then the canary": Scenario(
        PROMOTED_SOON, Traffic(60.0, stable=from_s(5, SILENT, until_s=6), canary=from_s(6, SILENT)), 7, {Phase.RAMP}
    ),
    "errors after promotion": Scenario(
        PROMOTED_SOON, Traffic(100.0, canary=from_s(35, FAILING)), 80, {Phase.CONFIRM, Phase.DONE}
    ),
    "errors of both after promotion": Scenario(
        PROMOTED_SOON, Traffic(100.0, canary=INCIDENT, stable=INCIDENT), 110, {Phase.CONFIRM, Phase.DONE}
    ),
    "an incident is over for five minutes": Scenario(
        replace(PROMOTED_SOON, guard_s=500.0),
        Traffic(20.0, canary=INCIDENT, stable=INCIDENT),
        440,
        {Phase.CONFIRM, Phase.GUARD},
    ),
    "a clock that is set back": Scenario(QUICK, Traffic(100.0), 110, {Phase.RAMP, Phase.GUARD}, set_back_at=12),
    "a clock that is set back under a silent canary": Scenario(
        LIVE, Traffic(100.0, canary=from_s(10, SILENT)), 40, {Phase.DONE}, set_back_at=11
    ),
    "no requests any more": Scenario(QUICK, Traffic(50.0, load=lambda now_s: float(now_s < 20)), 90, {Phase.DONE}),
}


def split_of(many):
    return Split(*(many.weights(share) for share in ("baseline", "stable", "canary", "mirror")))


def facts(state):
    """Every leaf of a state by its path, words and numbers apart.

    Without the arms that counted nothing: one may be there as zeros, or not.
    """
    words, numbers = {}, {}

    def walk(path, value):
        if isinstance(value, dict | list):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, item in items:
                if not (isinstance(item, dict) and item.get("finished") == 0):
                    walk(f"{path}.{key}", item)
        else:
            (numbers if isinstance(value, int | float) else words)[path] = value

    walk("state", json.loads(dumps(state._replace(reference=REFERENCE))))
    return words, numbers


def assert_same(at_once, alone):
    (words, numbers), (wanted, expected) = facts(at_once), facts(alone)
    assert words == wanted
    assert numbers == pytest.approx(expected, rel=1e-12, abs=1e-12)


def assert_same_decision(at_once, alone):
    assert at_once.e_value == pytest.approx(alone.e_value, rel=1e-12)
    assert replace(at_once, e_value=alone.e_value) == alone


@pytest.mark.parametrize("name", SCENARIOS)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=2, deadline=None, phases=(Stage.generate,))  # a seed has no simpler one
def test_rollouts_side_by_side_decide_as_each_does_alone(name, seed):
    scenario = SCENARIOS[name]
    start = begin(scenario.policy, SLO, REFERENCE, {Arm.STABLE, Arm.CANARY}, 0.0)
    many, states = Many([start] * ROLLOUTS, scenario.policy), [start] * ROLLOUTS
    market, visited = Market(scenario.traffic, ROLLOUTS, seed), set()
    for tick in range(scenario.ticks):
        served = market.tick(split_of(many).only(many.running))
        now_s = scenario.now_s(tick)
        decisions = many.step(now_s, served)
        for i, before in enumerate(states):
            observation = Observation(tick, now_s, {arm: served[arm].counts(i) for arm in ARMS})
            states[i], alone = decide(before, observation, scenario.policy)
            if i in decisions:
                assert_same_decision(decisions[i], alone)
            else:
                assert (alone.action, alone.phase, alone.weights) == (Action.HOLD, before.phase, before.weights)
        visited |= {state.phase for state in states}
    assert scenario.visits <= visited
    for i, state in enumerate(states):
        assert_same(many.state(i), state)


def test_rollouts_may_go_on_from_anywhere():
    """From ramp, guard and confirmation, with batches half full."""
    policy, traffic = PROMOTED_SOON, Traffic(30.0, canary=from_s(31, Behaviour(error_rate=0.1)))
    start = begin(policy, SLO, REFERENCE, {Arm.STABLE, Arm.CANARY}, 0.0)
    through, again = (Many([start] * 12, policy) for _ in range(2))
    market, left = Market(traffic, 12, seed=5), set()
    for tick in range(120):
        if tick % 12 == 0 and through.running.all():
            states = [again.state(i) for i in range(12)]
            left |= {state.phase for state in states}
            again = Many(states, policy)
        served = market.tick(split_of(through).only(through.running))
        assert again.step(tick + 1.0, served) == through.step(tick + 1.0, served)
    assert left == {Phase.RAMP, Phase.GUARD, Phase.CONFIRM}
    assert not through.running.all()
    for i in range(12):
        assert_same(again.state(i), through.state(i))


@pytest.mark.parametrize("only_alone", [{"labels": Labels.WATCHED}, {"external_judge": True}, {"warm_up_requests": 10}])
def test_what_only_one_rollout_alone_can_do_is_refused(only_alone):
    policy = replace(LIVE, **only_alone)
    with pytest.raises(RolloutError, match="leave labels, a judge and warm-up to `decide`"):
        Many([begin(policy, SLO, REFERENCE, {Arm.STABLE, Arm.CANARY}, 0.0)], policy)


def test_where_all_have_ended_nothing_is_asked():
    policy, traffic = LIVE, Traffic(100.0, canary=always(FAILING))
    many = Many([begin(policy, SLO, REFERENCE, {Arm.STABLE, Arm.CANARY}, 0.0)] * 3, policy)
    market = Market(traffic, 3, seed=1)
    for tick in range(1, 101):
        many.step(float(tick), market.tick(split_of(many).only(many.running)))
    assert not many.running.any()
    ended = [many.state(i) for i in range(3)]
    assert many.step(101.0, market.tick(Split.between(np.full(3, 0.5)))) == {}
    assert [many.state(i) for i in range(3)] == ended
