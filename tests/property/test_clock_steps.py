"""A clock may be set back under a rollout: that costs the tick in which it happens, and no more."""

from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from core_market import DEMO, Market, Version, always
from perch.core.types import Action, Arm

HARMFUL = {"silent": Version(silent=True), "failing": Version(error_rate=0.3)}
POLICY = replace(DEMO, no_data_timeout_s=30.0)
AT_ONE_WEIGHT = replace(POLICY, start_weight=0.1, ramp_interval_s=3_600.0)  # for both to be given the same requests


def set_back(at, by_s):
    """Observations of a machine whose clock is set back by `by_s` right before tick `at`."""
    return lambda seen: replace(seen, now_s=seen.now_s - by_s) if seen.tick >= at else seen


def without_counts(edit):
    return lambda seen: edit(replace(seen, arms=dict.fromkeys(seen.arms)))


ticks, steps_s = st.integers(1, 40), st.integers(1, 86_400)


@settings(max_examples=60, deadline=None)
@given(
    behaviour=st.sampled_from(sorted(HARMFUL)),
    shadow=st.booleans(),
    seed=st.integers(0, 5),
    at=st.integers(1, 15),
    by_s=steps_s,
)
@example(behaviour="silent", shadow=False, seed=0, at=3, by_s=300)
def test_a_step_back_delays_no_verdict_by_more_than_two_ticks(behaviour, shadow, seed, at, by_s):
    policy, canary = replace(AT_ONE_WEIGHT, shadow=shadow), always(HARMFUL[behaviour])
    steady = Market(policy=policy, canary=canary, seed=seed)
    stepped = Market(policy=policy, canary=canary, seed=seed, edit=set_back(at, by_s))
    wanted, found = steady.run(100), stepped.run(100)
    assert (found.outcome, found.cause) == (wanted.outcome, wanted.cause)
    assert found.outcome is Action.ROLL_BACK
    assert stepped.tick <= steady.tick + 2


@settings(max_examples=30, deadline=None)
@given(at=ticks, by_s=steps_s)
def test_a_step_back_delays_the_timeout_without_data_by_one_tick(at, by_s):
    steady = Market(policy=POLICY, edit=without_counts(lambda seen: seen))
    stepped = Market(policy=POLICY, edit=without_counts(set_back(at, by_s)))
    steady.run(100)
    stepped.run(100)
    assert stepped.tick == steady.tick + (at <= steady.tick)


@settings(max_examples=30, deadline=None)
@given(at=ticks, by_s=steps_s)
def test_the_rollouts_own_clock_loses_only_the_tick_of_the_step(at, by_s):
    """Shadow, ramp, bake and guard are timed by it."""
    market = Market(policy=POLICY, edit=set_back(at, by_s))
    for tick in range(1, 41):
        before = market.state.now_s
        market.step()
        assert market.state.now_s - before == (tick != at)


def test_a_clock_that_is_set_forth_again_counts_for_thirty_seconds():
    market = Market(policy=POLICY, edit=lambda seen: replace(seen, now_s=seen.now_s - 3_600 * (seen.tick == 5)))
    market.run(10)
    assert market.state.now_s == market.state.started_s + 4 + 30 + 4
    assert Arm.CANARY in market.state.seen.arms
