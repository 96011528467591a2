"""From the counts of a tick to evidence: waiting until there are enough of them, then moving every test by one step.

When a batch is weighed depends on the number of requests and on time, never on what became of them: otherwise stopping
at a lucky moment would be hidden inside a single increment.
"""

from collections.abc import Mapping
from typing import TypeVar

from perch.core.events import Tallies, Tally, Tick, added, nothing, tally
from perch.core.evidence import Family, comparable, core_family, full_family
from perch.core.guard import Guard
from perch.core.pods import Pods
from perch.core.policy import Labels, Policy
from perch.core.reference import Reference
from perch.core.sample_ratio import SampleRatio
from perch.core.state import Batch, Pair, State
from perch.core.types import Arm, Command, Observation, Outcomes, Phase
from perch.core.vector import Floats, Vector

FEWEST_REQUESTS = 10
LONGEST_WAIT_S = 30.0
LATE_INTERVAL_S = 30.0
START_MASS = 0.9
"""Share of the mixture over change times that bets on harm from the start."""
LIVE_MASS = 0.2
"""What of it waits for live traffic where a shadow stage comes first: for harm that no mirrored request shows."""
_LATE_PACE = (1 - START_MASS) * 120

SHARPENS_S = 3 * 3600.0
"""How long a guard learns the version's own rates: for longer they follow the time of day."""

_PAUSED: Mapping[Command | None, bool] = {Command.PAUSE: True, Command.RESUME: False}
_COMPARED = frozenset({Arm.CANARY, Arm.STABLE})
_BEFORE_PROMOTION = (Phase.SHADOW, Phase.RAMP)
_CANARY_ALONE = frozenset({Arm.CANARY})


Share = TypeVar("Share", float, Floats)


def needed(phase: Phase) -> frozenset[Arm]:
    """The arms without whose counts a phase learns nothing. The shadow arm's counts are the canary's."""
    return _CANARY_ALONE if phase is Phase.GUARD else _COMPARED


def tick_of(observation: Observation, phase: Phase, reference: Reference) -> Tick:
    """Count the events in an observation, with the challenger under the canary's name in the shadow stage, too.

    Mirrored requests that end after the shadow stage are left out, and so is a needed arm that is missing (`None`).

    Raises:
        RolloutError: counts that were not taken on the rollout's histogram grid.
    """
    left_out = Arm.CANARY if phase is Phase.SHADOW else Arm.SHADOW
    arms: dict[Arm, Tally | None] = dict.fromkeys(needed(phase))
    for arm, counts in observation.arms.items():
        if arm is not left_out:
            name = Arm.CANARY if arm is Arm.SHADOW else arm
            arms[name] = tally(counts, reference) if counts is not None else None
    pods: dict[Arm, Mapping[str, Tally]] = {
        Arm.CANARY if arm is Arm.SHADOW else arm: {name: tally(counts, reference) for name, counts in by_name.items()}
        for arm, by_name in observation.pods.items()
        if arm is not left_out
    }
    return Tick(
        observation.tick,
        observation.now_s,
        arms,
        observation.command,
        observation.outcomes,
        observation.judgements,
        pods,
        observation.canary_is_down,
    )


def advance(state: State, tick: Tick, policy: Policy) -> tuple[State, bool]:
    """The state after a tick's counts, and whether they were weighed or wait for more."""
    now_s = state.now_s + min(max(tick.now_s - state.seen_s, 0.0), LONGEST_WAIT_S)
    present = {arm: counted for arm, counted in tick.arms.items() if counted is not None}
    is_down, warmed = len(present) < len(tick.arms), state.warmed
    if warmed < policy.warm_up_requests and Arm.CANARY in present:
        warmed += present[Arm.CANARY].finished
        present = {arm: counted.failures_only() for arm, counted in present.items()}
    if tick.outcomes or tick.judgements or tick.pods or state.pods:
        present = {arm: counted - _on_the_way_out(state, tick, arm, now_s) for arm, counted in present.items()}
        state = _with_the_rest(state, tick, policy, is_down=is_down)
    waiting = state._replace(
        tick=tick.number,
        seen_s=tick.now_s,
        now_s=now_s,
        paused=_PAUSED.get(tick.command, state.paused),
        sources_down_s=now_s if is_down else state.sources_down_s,
        down_s=now_s if tick.canary_is_down else state.down_s,
        warmed=warmed,
        batch=Batch(state.batch.since_s, added(state.batch.arms, present)),
    )
    is_ready = not is_down and _is_enough(waiting.batch, now_s)
    return _weighed(waiting, policy) if is_ready else waiting, is_ready


def _on_the_way_out(state: State, tick: Tick, arm: Arm, now_s: float) -> Tally:
    """What pods counted that were ejected just now: it takes a while until no request reaches them."""
    ejected = state.pods[arm].ejected if arm in state.pods else {}
    late = (
        counted
        for name, counted in tick.pods.get(arm, {}).items()
        if name in ejected and now_s - ejected[name] < LONGEST_WAIT_S
    )
    return sum(late, nothing(state.reference))


def _with_the_rest(state: State, tick: Tick, policy: Policy, *, is_down: bool) -> State:
    """The state after labels, a judge's windows and the counts of single pods.

    An arm that is told as one again has no pods to tell apart.
    """
    outcomes, delta = tick.outcomes or Outcomes(), policy.tolerated_loss * (state.reference.champion_loss or 0.0)
    watches = policy.labels is not Labels.IGNORED
    knows_scale = state.reference.champion_loss is not None
    return state._replace(
        clicks=state.clicks.after(outcomes.cohorts, policy.tolerated_click_loss) if watches else state.clicks,
        paired=state.paired.after(outcomes.paired, delta) if watches and knows_scale else state.paired,
        judge=state.judge.after(tick.judgements) if policy.external_judge else state.judge,
        pods=state.pods if is_down else {arm: _pods(state, tick, arm, policy) for arm in _COMPARED if arm in tick.pods},
    )


def _pods(state: State, tick: Tick, arm: Arm, policy: Policy) -> Pods:
    other = tick.arms.get(Arm.STABLE if arm is Arm.CANARY else Arm.CANARY) or nothing(state.reference)
    return state.pods.get(arm, Pods()).after(tick.pods[arm], other, state.reference, policy)


def _is_enough(waiting: Batch, now_s: float) -> bool:
    if now_s - waiting.since_s >= LONGEST_WAIT_S:
        return True
    return any(counted.finished >= FEWEST_REQUESTS for counted in waiting.arms.values())


def _weighed(state: State, policy: Policy) -> State:
    """Move all evidence by the batch, and begin a new one."""
    arms, now_s = state.batch.arms, state.now_s
    has_data = all(arm in arms and arms[arm].finished for arm in needed(state.phase))
    begins = state.phase in _BEFORE_PROMOTION and now_s - state.spent_s >= LATE_INTERVAL_S
    late = late_mass(1 - state.spent - _reserved(state)) if begins else 0.0
    return state._replace(
        comparisons={
            pair: _compared(wealth, arms, pair, family(pair, state.phase, state.reference, policy), late)
            for pair, wealth in state.comparisons.items()
        },
        spent=state.spent + late,
        spent_s=now_s if late else state.spent_s,
        sample_ratio=_sample_ratio(state, policy),
        guard=_guard(state, policy),
        data_s=now_s if has_data else state.data_s,
        watched_s=state.watched_s + (min(now_s - state.data_s, LONGEST_WAIT_S) if has_data else 0.0),
        seen=state.seen.after(arms, state.reference),
        batch=Batch(since_s=now_s),
    )


def late_mass(idle: Share) -> Share:
    """How much of the idle mass is bet on harm that begins now. After k times 12 / (120 + k) is left.

    So it never runs out: harm that begins after hours costs a logarithm more, and no more.
    """
    return idle * idle / (_LATE_PACE + idle)


def _reserved(state: State) -> float:
    return LIVE_MASS if state.phase is Phase.SHADOW else 0.0


def put_to_work(state: State, policy: Policy, mass: float | None = None) -> State:
    """Bet further mass on harm that begins now: whenever the canary's part changes; by default as much as is due."""
    mass = late_mass(1 - state.spent - _reserved(state)) if mass is None else mass
    comparisons = {
        pair: Vector(family(pair, state.phase, state.reference, policy).more(wealth.array, mass))
        for pair, wealth in state.comparisons.items()
    }
    return state._replace(comparisons=comparisons, spent=state.spent + mass, spent_s=state.now_s)


def fresh_comparisons(
    phase: Phase, reference: Reference, policy: Policy, mass: float, *, has_baseline: bool
) -> dict[Pair, Vector]:
    """Comparisons that know nothing, of the arms that are deployed."""
    return {
        pair: Vector(family(pair, phase, reference, policy).start(mass))
        for pair in (Pair if has_baseline else [Pair.CANARY_STABLE])
    }


def family(pair: Pair, phase: Phase, reference: Reference, policy: Policy) -> Family:
    """The bets about a pair of arms.

    Everything counts while the canary is compared with the champion before promotion. Against the baseline, and after
    promotion, scores and small latencies do not: those versions are meant to differ.
    """
    full = pair is Pair.CANARY_STABLE and phase is not Phase.CONFIRM
    return full_family(reference, policy) if full else core_family(reference, policy)


def split_share(state: State) -> float:
    """The canary's part of the requests that it and the stable arm should get by the weights in force; 0 for none."""
    part = state.weights.mirror if state.phase is Phase.SHADOW else state.weights.canary
    return part / (part + state.weights.stable) if state.weights.stable else 0.0


def settled_s(state: State, policy: Policy) -> float:
    """From when on the weights in force are known to be those of every request, and no source has missed any.

    What came before would tell of the change, not of the split.
    """
    return max(state.weights_since_s, state.sources_down_s or state.weights_since_s) + policy.settling_s


def _compared(wealth: Vector, arms: Tallies, pair: Pair, bets: Family, late: float) -> Vector:
    money = bets.more(wealth.array, late) if late else wealth.array
    suspect, other = pair.arms
    if suspect in arms and other in arms:
        money = bets.bet(money, comparable(arms[suspect], arms[other]))
    return Vector(money)


def _guard(state: State, policy: Policy) -> Guard | None:
    canary = state.batch.arms.get(Arm.CANARY)
    if state.guard is None or canary is None:
        return state.guard
    if state.phase is Phase.CONFIRM:
        return state.guard.relieved(canary, state.reference)
    watched = state.guard.watched(canary, state.reference, state.now_s, state.now_s - state.batch.since_s)
    if state.now_s - state.phase_since_s > SHARPENS_S:
        return watched
    before = state.seen.since(state.before_stage).arm(Arm.CANARY, state.reference)
    return watched.sharpened(before + canary, state.reference, policy)


def _sample_ratio(state: State, policy: Policy) -> SampleRatio:
    arms, since_s, share = state.batch.arms, state.batch.since_s, split_share(state)
    canary, stable = arms.get(Arm.CANARY), arms.get(Arm.STABLE)
    if not share or canary is None or stable is None or since_s < settled_s(state, policy):
        return state.sample_ratio
    return state.sample_ratio.after(canary.finished, stable.finished, share, state.now_s - since_s)
