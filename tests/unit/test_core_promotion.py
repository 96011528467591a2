"""What a promotion needs: proof that is matched over all live ticks, a bake, requests, and a person where one must."""

from dataclasses import replace
from itertools import pairwise

import pytest

from core_market import GRID, LIVE_ONLY, SLO, TWO_ARMS, Market, Version, always
from perch.core import Cause, Policy, begin, decide, reference
from perch.core.events import Tick, tally
from perch.core.evidence import cleared
from perch.core.ramp import _CAPS
from perch.core.situation import Situation
from perch.core.state import Pair
from perch.core.types import Action, Arm, Command, Counts, Observation, Phase, Verdict
from perch.core.weighing import advance

REFERENCE = reference(Counts.none(GRID), GRID, SLO, None)
PATIENT = Policy(
    shadow=False, start_weight=0.5, bake_s=10.0, margin=0.03, tolerated_ratio=100.0, sample_ratio_alpha=1e-9
)
"""Convicts of nothing short of a hundredfold harm, so that the proof alone decides."""


def answers(n, failed):
    return Counts(n, failed, (n - failed, *[0] * len(GRID.latency_ms)), (n - failed, *[0] * len(GRID.score_logit)))


def follow(policy, ticks, commands=None):
    """Decide about ticks, each ((requests, failures) of the canary, the same of the champion)."""
    state, decisions = begin(policy, SLO, REFERENCE, TWO_ARMS, 0.0), []
    for tick, (canary, stable) in enumerate(ticks):
        arms = {Arm.CANARY: answers(*canary), Arm.STABLE: answers(*stable)}
        state, decision = decide(state, Observation(tick, tick + 1.0, arms, (commands or {}).get(tick)), policy)
        decisions.append(decision)
    return decisions


def promoted(decisions):
    return any(decision.action is Action.PROMOTE for decision in decisions)


def share(ticks, arm):
    requests, failures = (sum(counts) for counts in zip(*(tick[arm] for tick in ticks), strict=True))
    return failures / requests


def is_proven(ticks):
    """Whether it is ever proven, over these ticks, that the canary is no worse. No rule is asked."""
    state = begin(PATIENT, SLO, REFERENCE, TWO_ARMS, 0.0)
    for number, (canary, stable) in enumerate(ticks):
        arms = {Arm.CANARY: tally(answers(*canary), REFERENCE), Arm.STABLE: tally(answers(*stable), REFERENCE)}
        tick = Tick(number, number + 1.0, arms)
        state, weighed = advance(state, tick, PATIENT)
        if Situation(state, weighed, PATIENT, tick).not_inferior():
            return True
    return False


def test_a_bad_hour_of_the_champion_while_the_canary_had_little_traffic_is_no_proof_for_a_bad_canary():
    """In every tick the canary fails twice as often; in the totals it looks better (Simpson's paradox)."""
    ticks = [((10, 2), (180, 18))] * 60 + [((100, 6), (100, 3))] * 60
    canary, stable = (share(ticks, arm) for arm in (0, 1))
    assert canary < stable
    assert not is_proven(ticks)


def test_a_canary_as_good_as_the_champion_in_every_tick_is_proven_so_after_the_same_bad_hour():
    assert is_proven([((10, 1), (180, 18))] * 60 + [((100, 3), (100, 3))] * 60)


def test_what_the_shadow_stage_showed_is_no_proof_of_live_traffic():
    """In shadow both are clean; live, the canary fails more than the margin allows."""
    policy = replace(PATIENT, shadow=True, shadow_s=30.0)
    state = begin(policy, SLO, REFERENCE, TWO_ARMS, 0.0)
    for tick in range(300):
        canary = Arm.SHADOW if state.phase is Phase.SHADOW else Arm.CANARY
        failed = 0 if state.phase is Phase.SHADOW else 4
        arms = {canary: answers(100, failed), Arm.STABLE: answers(100, 0 if state.phase is Phase.SHADOW else 1)}
        state, decision = decide(state, Observation(tick, tick + 1.0, arms), policy)
        assert decision.action is not Action.PROMOTE
    assert state.phase is Phase.RAMP


CLEAN = [((50, 0), (50, 0))] * 60
ASKING = replace(PATIENT, require_approval=True)


@pytest.mark.parametrize("lacking", [{"bake_s": 61.0}, {"min_requests": 3_001}])
def test_nothing_is_promoted_before_its_bake_and_its_requests(lacking):
    assert promoted(follow(PATIENT, CLEAN))
    decisions = follow(replace(PATIENT, **lacking), CLEAN)
    assert decisions[-1].phase is Phase.RAMP
    assert not promoted(decisions)


def test_nothing_is_promoted_before_it_has_the_largest_weight():
    policy = replace(PATIENT, start_weight=0.4, ramp_interval_s=61.0)
    decisions = follow(policy, [((40, 0), (60, 0))] * 60)
    assert decisions[-1].phase is Phase.RAMP
    assert not promoted(decisions)
    assert promoted(follow(replace(policy, max_weight=0.4), [((40, 0), (60, 0))] * 60))


def test_a_proven_canary_waits_for_a_persons_approval():
    decisions = follow(ASKING, CLEAN)
    assert not promoted(decisions)
    assert (decisions[-1].action, decisions[-1].verdict) == (Action.HOLD, Verdict.HEALTHY)
    assert decisions[-1].sentence.startswith("Proven, and waiting for a person's approval")


def test_an_approved_canary_is_promoted_for_its_proof():
    approved = follow(ASKING, CLEAN, {59: Command.PROMOTE})[-1]
    assert approved.action is Action.PROMOTE
    assert approved.sentence.startswith("Promoted with a person's approval: the canary is proven")
    unproven = follow(ASKING, CLEAN, {5: Command.PROMOTE})[5]
    assert unproven.action is Action.PROMOTE
    assert "without waiting for proof" in unproven.sentence


@pytest.mark.parametrize(("error_rate", "seed"), [(0.001, 0), (0.02, 1), (0.05, 2)])
def test_while_harm_cannot_be_excluded_no_weight_is_raised_above_its_cap(error_rate, seed):
    """Both arms alike, so that the ramp goes on for as long as the bound is wide."""
    version = always(Version(error_rate=error_rate))
    market = Market(policy=LIVE_ONLY, canary=version, stable=version, seed=seed)
    market.run(200)
    raised = [
        (before.weights.canary, after)
        for before, after in pairwise(market.decisions)
        if after.phase is Phase.RAMP and after.weights.canary > before.weights.canary
    ]
    assert len(raised) >= 3
    for weight, decision in raised:
        cap = min((cap for bound, cap in _CAPS if decision.harm_bound > bound), default=LIVE_ONLY.max_weight)
        assert decision.weights.canary <= min(cap, 2 * weight) + 1e-12


def test_a_person_is_recorded_as_the_cause_only_where_proof_was_missing():
    for tick, cause in ((5, Cause.PERSON), (59, Cause.PROVEN)):
        state = begin(ASKING, SLO, REFERENCE, TWO_ARMS, 0.0)
        for number, (canary, stable) in enumerate(CLEAN[: tick + 1]):
            command = Command.PROMOTE if number == tick else None
            arms = {Arm.CANARY: answers(*canary), Arm.STABLE: answers(*stable)}
            state, _ = decide(state, Observation(number, number + 1.0, arms, command), ASKING)
        assert state.promoted_by is cause


def test_what_is_proven_of_mirrored_requests_is_not_proven_of_live_ones():
    mirroring = Market(policy=replace(Policy(), shadow_s=120.0))
    mirroring.run(119)
    assert max(cleared(mirroring.state.comparisons[Pair.CANARY_STABLE].array)) > 10
    mirroring.run(30, until=lambda state: state.phase is Phase.RAMP)
    assert mirroring.state.phase is Phase.RAMP
    assert cleared(mirroring.state.comparisons[Pair.CANARY_STABLE].array) == pytest.approx((1, 1))


def test_approval_in_a_quiet_second_is_still_approval():
    decisions = follow(ASKING, [*CLEAN, ((2, 0), (2, 0))], {len(CLEAN): Command.PROMOTE})
    assert decisions[-2].sentence.startswith("Proven, and waiting")
    assert decisions[-1].sentence.startswith("Promoted with a person's approval")
