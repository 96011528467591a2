"""The figures of a policy's cost: from outcomes made by hand, so that each figure is known beforehand."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest

from perch.core import Policy
from perch.rehearsal.cost import LIMIT_S, good_canary, harmful_canary, late_harm
from perch.rehearsal.rehearse import Outcome

POLICY = Policy(shadow_s=60.0, bake_s=120.0)
RPS = 100.0


def outcome(rollouts=1, **fields):
    """Outcomes with these times, or counts of bad responses; what is left out never happened."""
    never = dict.fromkeys(("live_s", "enough_s", "full_s", "promoted_s", "alarmed_s", "home_s", "undecided_s"), inf)
    values = {**never, "bad": 0, **fields}
    return Outcome(**{name: np.broadcast_to(np.array(value), (rollouts,)) for name, value in values.items()})


def test_a_time_that_was_never_reached_is_longer_than_all_others():
    harm = harmful_canary("any", outcome(4, home_s=[10.0, 20.0, 30.0, inf]), mirrored=False)
    assert (harm.found, harm.home_s, harm.home_p95_s) == (0.75, 30.0, None)
    hardly = harmful_canary("any", outcome(4, home_s=[10.0, inf, inf, inf]), mirrored=False)
    assert (hardly.found, hardly.home_s) == (0.25, None)


def test_bad_responses_are_told_by_their_mean_and_95th_percentile():
    harm = harmful_canary("any", outcome(20, bad=list(range(20)), promoted_s=5.0), mirrored=True)
    assert (harm.bad_mean, harm.bad_p95) == (9.5, 19.0)
    assert (harm.promoted, harm.replications, harm.mirrored) == (1.0, 20, True)


def test_a_good_canary_that_comes_home_is_a_false_rollback():
    good = good_canary(outcome(4, home_s=[9.0, inf, inf, inf], promoted_s=[inf, 1.0, 2.0, 3.0]), POLICY, RPS)
    assert (good.false_rollbacks, good.replications, good.promoted) == (1, 4, 0.75)
    assert (good.promoted_s, good.promoted_p95_s) == (3.0, None)


PROMPT = {"live_s": 60.0, "enough_s": 90.0, "full_s": 90.0}


@pytest.mark.parametrize(
    ("times", "waits_for"),
    [
        ({**PROMPT, "promoted_s": 180.0}, "bake"),
        ({**PROMPT, "promoted_s": 182.0}, "bake"),  # decided at the next look
        ({**PROMPT, "promoted_s": 200.0}, "proof"),
        ({**PROMPT, "full_s": 300.0, "promoted_s": 301.0}, "ramp"),
        ({**PROMPT, "enough_s": 300.0, "promoted_s": 301.0}, "requests"),
        ({**PROMPT}, "proof"),
        ({**PROMPT, "full_s": inf}, "ramp"),
        ({**PROMPT, "enough_s": inf}, "requests"),
        ({**PROMPT, "live_s": LIMIT_S - 100.0}, "bake"),
        ({}, "shadow"),
        ({"undecided_s": 1_800.0}, "data"),
    ],
)
def test_what_a_promotion_waits_for_is_the_condition_that_is_met_last(times, waits_for):
    assert good_canary(outcome(**times), POLICY, RPS).waited_for == {waits_for: 1.0}


def test_the_shares_of_what_is_waited_for_leave_out_those_that_came_home():
    good = good_canary(
        outcome(4, **PROMPT, promoted_s=[180.0, 180.0, 250.0, inf], home_s=[inf] * 3 + [70.0]), POLICY, RPS
    )
    assert good.waited_for == {"bake": pytest.approx(2 / 3), "proof": pytest.approx(1 / 3)}
    nobody = good_canary(outcome(home_s=5.0), POLICY, RPS)
    assert nobody.waited_for == {}


def test_at_little_traffic_the_next_look_is_later():
    times = outcome(**PROMPT, promoted_s=195.0)
    assert good_canary(times, POLICY, 100.0).waited_for == {"proof": 1.0}
    assert good_canary(times, POLICY, 1.0).waited_for == {"bake": 1.0}


def test_a_shadow_stage_that_outlasts_its_time_waits_for_proof():
    good = good_canary(outcome(4, live_s=[60.0, 61.0, 150.0, inf]), POLICY, RPS)
    assert good.shadow_outlasted == 0.5
    patient = good_canary(outcome(), replace(POLICY, shadow_s=2 * LIMIT_S), RPS)
    assert patient.shadow_outlasted == 0


def test_a_rollout_that_was_given_up_has_found_nothing():
    given_up = outcome(undecided_s=1_800.0)
    assert good_canary(given_up, POLICY, RPS).false_rollbacks == 0
    assert harmful_canary("any", given_up, mirrored=False).found == 0


def test_what_begins_after_promotion_is_told_with_its_false_alarms():
    times = outcome(2, alarmed_s=[2.0, 4.0], home_s=[8.0, inf], bad=[3, 5])
    late = late_harm(times, error_rate=0.05, quiet_s=600.0, false_alarms=1)
    assert (late.replications, late.false_alarms, late.found) == (2, 1, 0.5)
    assert (late.alarmed_s, late.alarmed_p95_s, late.home_p95_s, late.bad_mean) == (4.0, 4.0, None, 4.0)


def test_where_every_guard_rang_before_the_fault_its_false_alarms_are_all_that_is_told():
    late = late_harm(outcome(0), error_rate=0.05, quiet_s=30.0, false_alarms=5)
    assert (late.replications, late.false_alarms) == (0, 5)
    assert (late.found, late.bad_mean, late.bad_p95) == (0, 0, 0)
    assert {late.alarmed_s, late.alarmed_p95_s, late.home_s, late.home_p95_s} == {None}
