"""The moves a rollout can make from one phase to the next: what changes in its state, whatever the reason."""

from collections.abc import Collection
from dataclasses import replace

from perch.core.clicks import Clicks
from perch.core.events import Record
from perch.core.guard import Guard, arm_guard
from perch.core.judge import Judge
from perch.core.paired import Paired
from perch.core.policy import Labels, Policy, Slo
from perch.core.reference import Reference
from perch.core.sample_ratio import SampleRatio
from perch.core.state import Batch, Cause, Pair, State
from perch.core.types import Action, Arm, Phase, Weights
from perch.core.vector import Vector
from perch.core.weighing import LIVE_MASS, START_MASS, family, fresh_comparisons, put_to_work


def begin(policy: Policy, slo: Slo, reference: Reference, arms: Collection[Arm], now_s: float) -> State:
    """Begin a rollout: in shadow, or live at the policy's first weight.

    Args:
        policy: What the rollout may risk.
        slo: What users were promised; `reference` was made for it.
        reference: What is fixed before the rollout.
        arms: The arms deployed. Without a baseline arm of its own its share of the traffic is 0.
        now_s: Seconds since the epoch.
    """
    reference = replace(reference, slo=slo)
    has_baseline = Arm.BASELINE in arms
    phase = Phase.SHADOW if policy.shadow else Phase.RAMP
    mass = START_MASS - LIVE_MASS if policy.shadow else START_MASS
    start = State(
        phase=phase,
        outcome=None,
        cause=None,
        weights=Weights(),
        paused=False,
        has_baseline=has_baseline,
        reference=reference,
        tick=-1,
        seen_s=now_s,
        now_s=now_s,
        started_s=now_s,
        phase_since_s=now_s,
        weights_since_s=now_s,
        data_s=now_s,
        watched_s=0.0,
        sources_down_s=None,
        batch=Batch(since_s=now_s),
        seen=Record(),
        before_stage=Record(),
        before_live=Record(),
        before_weights=Record(),
        warmed=0,
        doubted_s=None,
        comparisons=fresh_comparisons(phase, reference, policy, mass, has_baseline=has_baseline),
        spent=mass,
        spent_s=now_s,
        clicks=Clicks(),
        paired=Paired(),
        judge=Judge(),
        pods={},
        sample_ratio=SampleRatio(),
        guard=None,
        promoted_by=None,
    )
    canary = 0.0 if policy.shadow else policy.start_weight
    return start._replace(weights=_live_weights(start, policy, canary, mirror=1.0 if policy.shadow else 0.0))


def go_live(state: State, policy: Policy) -> State:
    """From shadow to the first live weight.

    The evidence goes on: mirrored or live, it answers the same question, and each increment is valid by itself. A
    part of the mass waited for this moment, for what only live traffic shows. That the canary does no harm has to be
    proven of live traffic alone.
    """
    weights = _live_weights(state, policy, policy.start_weight, mirror=_mirror(policy))
    live = _enter(state, Phase.RAMP, weights)._replace(
        before_stage=state.before_stage, before_live=state.seen, watched_s=0.0
    )
    bets = family(Pair.CANARY_STABLE, Phase.RAMP, state.reference, policy)
    wealth = Vector(bets.uncleared(live.comparisons[Pair.CANARY_STABLE].array))
    return put_to_work(live._replace(comparisons={**live.comparisons, Pair.CANARY_STABLE: wealth}), policy, LIVE_MASS)


def reweigh(state: State, policy: Policy, canary: float) -> State:
    """Give the canary another share of the live traffic."""
    weights = _live_weights(state, policy, canary, mirror=_mirror(policy))
    return put_to_work(state._replace(weights=weights, weights_since_s=state.now_s, before_weights=state.seen), policy)


def eject(state: State, policy: Policy, arm: Arm, pod: str) -> State:
    """Take a pod out of its arm, and forget what was counted with it in it.

    What the other pods did is compared afresh, with an error probability of `Policy.alpha` of its own; a weight once
    given is kept.
    """
    mass = 1.0 if state.phase is Phase.CONFIRM else START_MASS
    fresh = fresh_comparisons(state.phase, state.reference, policy, mass, has_baseline=state.has_baseline)
    return state._replace(
        pods={**state.pods, arm: state.pods[arm].without(pod, state.now_s)},
        doubted_s=None,
        batch=Batch(since_s=state.now_s),
        comparisons=fresh if state.comparisons else {},
        spent=mass if state.comparisons else state.spent,
        spent_s=state.now_s,
        guard=state.guard and state.guard.at_rest(),
        before_stage=state.seen,
        before_live=state.seen,
        before_weights=state.seen,
    )


def promote(state: State, policy: Policy, cause: Cause) -> State:
    """Give the canary the traffic and arm the guard."""
    stage = state.seen.since(state.before_stage)
    canary, stable = (stage.arm(arm, state.reference) for arm in (Arm.CANARY, Arm.STABLE))
    guard = arm_guard(canary, stable, state.reference, policy)
    return restore(state, policy, guard)._replace(promoted_by=cause, watched_s=0.0)


def restore(state: State, policy: Policy, guard: Guard) -> State:
    """Give the promoted version its traffic, under the eyes of `guard`."""
    baseline = _baseline_share(state, policy)
    hold_back = policy.guard_hold_back
    weights = Weights(baseline=baseline, stable=hold_back, canary=1 - hold_back - baseline)
    return _enter(state, Phase.GUARD, weights)._replace(guard=guard, comparisons={})


def soften(state: State, policy: Policy, guard: Guard) -> State:
    """Take most traffic to the safe side, split evenly between champion and baseline, and compare all arms afresh."""
    safe = policy.confirm_share
    baseline = safe / 2 if state.has_baseline else 0.0
    weights = Weights(baseline=baseline, stable=safe - baseline, canary=1 - safe)
    fresh = fresh_comparisons(Phase.CONFIRM, state.reference, policy, 1.0, has_baseline=state.has_baseline)
    return _enter(state, Phase.CONFIRM, weights)._replace(guard=guard, comparisons=fresh, spent=1.0)


def end(state: State, policy: Policy, outcome: Action, cause: Cause) -> State:
    """End the rollout with all traffic at one version, but for the baseline's share."""
    baseline = 1.0 if outcome is Action.FALL_BACK else _baseline_share(state, policy)
    promoted = outcome is Action.PROMOTE
    weights = Weights(
        baseline=baseline, stable=0.0 if promoted else 1 - baseline, canary=1 - baseline if promoted else 0.0
    )
    ended = state._replace(phase=Phase.DONE, outcome=outcome, cause=cause)
    return ended._replace(weights=weights, weights_since_s=state.now_s, phase_since_s=state.now_s)


def _enter(state: State, phase: Phase, weights: Weights) -> State:
    return state._replace(
        phase=phase,
        weights=weights,
        phase_since_s=state.now_s,
        weights_since_s=state.now_s,
        data_s=state.now_s,
        batch=Batch(since_s=state.now_s),
        before_stage=state.seen,
        before_weights=state.seen,
    )


def _live_weights(state: State, policy: Policy, canary: float, *, mirror: float = 0.0) -> Weights:
    baseline = _baseline_share(state, policy)
    return Weights(baseline=baseline, stable=1 - canary - baseline, canary=canary, mirror=mirror)


def _mirror(policy: Policy) -> float:
    """Share to mirror in live traffic: all, where labels are to tell which version scored a request better."""
    return 1.0 if policy.shadow and policy.labels is not Labels.IGNORED else 0.0


def _baseline_share(state: State, policy: Policy) -> float:
    return policy.baseline_share if state.has_baseline else 0.0
