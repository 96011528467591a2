"""Our own engine in the comparison: the core's rollouts, told in the words of the bench."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from benchmarks.decisions import guarded
from benchmarks.decisions.engines import OURS
from benchmarks.decisions.perch import ARMS, LIVE, SHADOW_FIRST, Perch, champion, end_of
from benchmarks.decisions.plan import FULL, QUICK, measure
from benchmarks.decisions.rollouts import End
from benchmarks.decisions.run import run
from benchmarks.decisions.scenarios import Scenario, after_promotion

from perch.core import Cause, begin
from perch.core.types import Action, Arm, Phase
from perch.rehearsal.market import GOOD, SLO, Behaviour, Market, Traffic, always

BROKEN = Scenario("S1 broken", Traffic(100.0, canary=always(Behaviour(error_rate=0.5))), harmful=True, duration_s=60)
FINE = Scenario("S0 fine", Traffic(100.0), harmful=False, duration_s=260)
MUTE = Scenario("S6 mute", Traffic(100.0, canary=always(Behaviour(silent=True))), harmful=True, duration_s=60)
START = begin(LIVE, SLO, champion(), ARMS, now_s=0.0)
QUIET, STEP, INCIDENT = after_promotion()


def ours(name, scenario, replications=20):
    return run(name, OURS[name], scenario, replications)


@pytest.mark.parametrize(
    ("outcome", "cause", "end"),
    [
        (Action.ROLL_BACK, Cause.HARM, End.ROLLED_BACK),
        (Action.ROLL_BACK, Cause.SILENT, End.ABORTED),
        (Action.ROLL_BACK, Cause.MISROUTED, End.ABORTED),
        (Action.ROLL_BACK, Cause.INCONCLUSIVE, End.ABORTED),
        (Action.PROMOTE, Cause.PROVEN, End.PROMOTED),
    ],
)
def test_only_harm_that_was_found_is_called_a_rollback(outcome, cause, end):
    assert end_of(START._replace(phase=Phase.DONE, outcome=outcome, cause=cause)) == end


def test_a_rollout_ends_with_the_promotion_not_with_the_guard():
    assert end_of(START) == End.HELD
    assert end_of(START._replace(phase=Phase.GUARD, promoted_by=Cause.PROVEN)) == End.PROMOTED


def test_the_bench_runs_the_defaults():
    assert replace(LIVE, shadow=True) == SHADOW_FIRST
    assert len(champion().latency_edges) > 1
    assert champion().slo == SLO
    assert champion().expected
    assert set(champion().expected) == {1.0}


def test_a_broken_canary_is_rolled_back():
    result = ours("perch", BROKEN)
    assert result.rolled_back == 1
    assert 0 < result.bad_mean < 10


def test_mirrored_requests_harm_nobody():
    result = ours("perch-shadow", BROKEN)
    assert (result.rolled_back, result.bad_mean) == (1, 0)


def test_a_silent_canary_is_aborted_and_what_it_lost_is_counted():
    result = ours("perch", MUTE)
    assert result.aborted == 1
    assert 5 < result.bad_mean < 15


@pytest.mark.parametrize("name", OURS)
def test_a_good_canary_is_promoted_unless_promotion_is_off(name):
    assert ours(name, FINE, 4).promoted == 1
    assert ours(name, replace(FINE, promotion=False), 4).held == 1


def test_shadow_comes_first_where_promotion_is_off_too():
    rollouts = Perch(replace(FINE, promotion=False), 1, SHADOW_FIRST)
    market, mirrored, live = Market(FINE.traffic, 1, seed=0), [], []
    while market.now_s < 100:
        served = market.tick(rollouts.split)
        mirrored.append(int(served[Arm.SHADOW].finished[0]))
        live.append(int(served[Arm.CANARY].finished[0]))
        rollouts.step(market.now_s, served)
    assert all(mirrored[:60])
    assert not any(live[:60])
    assert not any(mirrored[80:])
    assert any(live[80:])


def test_a_promoted_canary_is_watched_no_further():
    late = replace(FINE, duration_s=400, traffic=Traffic(100.0, canary=lambda t: _broken() if t > 300 else GOOD))
    assert ours("perch", late, 4).promoted == 1


def _broken():
    return Behaviour(error_rate=0.5)


def test_the_guard_is_put_to_the_test_from_the_promotion_on():
    states = guarded.promoted(5)
    assert len(states) == 5
    assert all(state.phase is Phase.GUARD and state.weights.canary > 0.9 for state in states)
    assert {(state.tick, state.seen_s) for state in states} == {(-1, 0.0)}
    assert len({state.now_s for state in states}) > 1


def test_a_step_after_promotion_is_rolled_back_softly_first():
    result = guarded.run("perch", STEP, 5)
    assert (result.alarmed, result.rolled_back, result.kept) == (1, 1, 0)
    assert 1 <= result.soft_median_s < result.median_s < 30


def test_a_common_incident_after_promotion_costs_nobody_the_traffic():
    result = guarded.run("perch", replace(INCIDENT, duration_s=150), 5)
    assert (result.alarmed, result.kept, result.gone_home) == (1, 1, 0)


def test_quiet_hours_have_no_alarm():
    result = guarded.run("perch", replace(QUIET, duration_s=120), 5)
    assert (result.alarmed, result.soft_median_s, result.median_s, result.held) == (0, None, None, 1)


def test_a_job_of_the_guard_is_one_of_the_plan():
    assert set(QUICK.after_promotion()) == {STEP.key, INCIDENT.key}
    assert FULL.after_promotion()[QUIET.key].duration_s == 6 * 3600
    found = measure((replace(QUICK, harmful=3), "perch", STEP.key))
    assert asdict(found) == asdict(guarded.run("perch", STEP, 3))
    assert np.isclose(found.rolled_back, 1)
