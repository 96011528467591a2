"""Rehearsed rollouts: they are those of the engine, and what is noted of them is what happened."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest

from perch.core import Cause, Policy, Slo, decide
from perch.core.transitions import promote
from perch.core.types import Action, Arm, Observation, Phase
from perch.rehearsal.market import Behaviour, Market, Split, Traffic, always
from perch.rehearsal.rehearse import beginning, rehearse, stand_in

SLO = Slo(latency_p99_ms=50.0)
QUICK = Policy(shadow_s=5.0, bake_s=15.0, margin=0.02, guard_s=30.0)
LIVE = replace(QUICK, shadow=False)
FAILING = Traffic(100.0, canary=always(Behaviour(error_rate=0.5)))


def rehearsed(policy, traffic, rollouts=20, seed=1, limit_s=600.0):
    return rehearse([beginning(policy, SLO)] * rollouts, policy, traffic, seed=seed, limit_s=limit_s)


def by_hand(policy, traffic, seed, limit_s):
    """One rollout, decided tick by tick from observations: when it was in each phase first, and its bad responses."""
    state, market = beginning(policy, SLO), Market(traffic, 1, seed)
    entered, bad = {state.phase: 0}, 0
    while market.now_s < limit_s and state.phase in {Phase.SHADOW, Phase.RAMP}:
        weights = (np.array([getattr(state.weights, arm)]) for arm in ("baseline", "stable", "canary", "mirror"))
        served = market.tick(Split(*weights))
        arms = {arm: served[arm].counts(0) for arm in (Arm.STABLE, Arm.CANARY, Arm.SHADOW)}
        state, _ = decide(state, Observation(market.now_s, float(market.now_s), arms), policy)
        entered.setdefault(state.phase, market.now_s)
        bad += int(served[Arm.CANARY].bad[0])
    return entered, bad


@pytest.mark.parametrize("policy", [QUICK, LIVE])
@pytest.mark.parametrize("traffic", [Traffic(80.0), Traffic(80.0, canary=always(Behaviour(error_rate=0.05)))])
def test_a_rehearsed_rollout_is_what_the_engine_decides(policy, traffic):
    outcome, states = rehearsed(policy, traffic, rollouts=1, seed=3, limit_s=200.0)
    entered, bad = by_hand(policy, traffic, seed=3, limit_s=200.0)
    assert outcome.live_s[0] == entered.get(Phase.RAMP, inf)
    assert outcome.promoted_s[0] == entered.get(Phase.GUARD, inf)
    assert outcome.home_s[0] == entered.get(Phase.DONE, inf)
    assert outcome.bad[0] == bad
    assert states[0].phase in {Phase.GUARD, Phase.DONE}


def test_a_good_canary_goes_through_all_stages_in_their_order():
    outcome, states = rehearsed(QUICK, Traffic(200.0))
    assert (outcome.live_s >= QUICK.shadow_s).all()
    assert (outcome.live_s < outcome.full_s).all()
    assert (outcome.live_s < outcome.enough_s).all()
    assert (outcome.promoted_s >= np.maximum(outcome.full_s, outcome.enough_s)).all()
    assert (outcome.promoted_s >= outcome.live_s + QUICK.bake_s).all()
    assert (outcome.home_s == inf).all()
    assert all(state.guard for state in states)


def test_nobody_sees_what_only_mirrored_requests_show():
    outcome, states = rehearsed(QUICK, FAILING)
    assert (outcome.home_s < QUICK.shadow_s).all()
    assert (outcome.live_s == inf).all()
    assert outcome.bad.sum() == 0
    assert {state.outcome for state in states} == {Action.ROLL_BACK}


def test_without_a_shadow_stage_users_see_some_of_it():
    outcome, _ = rehearsed(LIVE, FAILING)
    assert (outcome.live_s == 0).all()
    assert (outcome.home_s < inf).all()
    assert 0 < outcome.bad.mean() < 10


def test_what_has_not_ended_in_time_is_left_as_it_stands():
    outcome, states = rehearsed(QUICK, Traffic(100.0), limit_s=3.0)
    assert all(state.phase is Phase.SHADOW and state.now_s == 3.0 for state in states)
    for times_s in (outcome.live_s, outcome.full_s, outcome.promoted_s, outcome.home_s):
        assert (times_s == inf).all()


def test_requests_are_enough_when_both_arms_have_had_them_live():
    outcome, _ = rehearsed(replace(QUICK, min_requests=500), Traffic(200.0))
    assert (outcome.enough_s > outcome.live_s + 2 * 500 / 200.0).all()
    assert (outcome.promoted_s >= outcome.enough_s).all()


def test_after_promotion_times_begin_anew_and_the_guard_is_followed_to_its_end():
    _, states = rehearsed(QUICK, Traffic(100.0))
    promoted = [state for state in states if state.guard]  # the unlucky one waits for proof
    assert len(promoted) >= 18
    outcome, ended = rehearse(promoted, QUICK, FAILING, seed=2, limit_s=600.0)
    assert (outcome.promoted_s == 0).all()
    assert (outcome.alarmed_s <= 3).all()
    assert (outcome.alarmed_s < outcome.home_s).all()
    assert (outcome.home_s < 30).all()
    assert {state.cause for state in ended} == {Cause.HARM}


def test_no_rollouts_have_no_outcome():
    outcome, ended = rehearse([], QUICK, FAILING, seed=1, limit_s=600.0)
    assert (outcome.replications, ended) == (0, [])


def test_a_guard_that_is_over_has_brought_nobody_home():
    promoted = promote(beginning(QUICK, SLO), QUICK, Cause.PROVEN)
    outcome, ended = rehearse([promoted] * 5, QUICK, Traffic(100.0), seed=2, limit_s=600.0)
    assert (outcome.home_s == inf).all()
    assert {(state.phase, state.outcome) for state in ended} == {(Phase.DONE, Action.PROMOTE)}


def test_a_rollout_without_data_is_given_up_and_has_found_nothing():
    outcome, _ = rehearsed(replace(LIVE, no_data_timeout_s=60.0), Traffic(0.0001), limit_s=200.0)
    assert (outcome.undecided_s == 60).all()
    assert (outcome.home_s == inf).all()


def test_the_same_seed_gives_the_same_rollouts():
    once, again, other = (rehearsed(LIVE, FAILING, seed=seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(once.bad, again.bad)
    assert not np.array_equal(once.bad, other.bad)


def test_outcomes_add_up_side_by_side():
    first, second = (rehearsed(LIVE, FAILING, rollouts=n)[0] for n in (3, 4))
    both = first + second
    assert (first.replications, both.replications) == (3, 7)
    np.testing.assert_array_equal(both.home_s, [*first.home_s, *second.home_s])


@pytest.mark.parametrize("limit_ms", [33.3, 50.0, 500.0, 10_000.0])
def test_the_champion_stands_in_for_one_that_keeps_any_slo(limit_ms):
    fixed = stand_in(Slo(latency_p99_ms=limit_ms))
    assert fixed.grid.latency_ms[fixed.slo_edge] == limit_ms
    p99 = fixed.grid.latency_ms[fixed.slo_edge - 1]
    assert p99 == pytest.approx(0.6 * limit_ms)
    shares = dict(zip(fixed.latency_edges, fixed.latency_shares, strict=True))
    assert shares[fixed.slo_edge - 1] == pytest.approx(0.01, rel=0.2)
    assert shares[fixed.slo_edge] < 0.001


def test_a_difference_that_does_not_matter_to_the_slo_is_not_tested():
    coarse, fine = (stand_in(Slo(latency_p99_ms=50.0, negligible_latency_ms=floor)) for floor in (40.0, 1.0))
    assert coarse.latency_edges == (coarse.slo_edge,)
    assert len(fine.latency_edges) > 2
