"""From the counts of a tick to evidence: waiting until there are enough of them, then moving every test by one step.

When a batch is weighed depends on the number of requests and on time, never on what became of them: otherwise stopping
at a lucky moment would be hidden inside a single increment.
"""

from collections.abc import Mapping
from dataclasses import replace

from perch.core.events import Tally, tally
from perch.core.evidence import Family, clearing_family, core_family, full_family
from perch.core.policy import Policy
from perch.core.ramp import matched
from perch.core.reference import Reference
from perch.core.state import Batch, Comparison, Pair, State
from perch.core.types import Arm, Command, Counts, Observation, Phase
from perch.errors import RolloutError

_FEWEST_REQUESTS = 10
_LONGEST_WAIT_S = 30.0
_SETTLING_S = 2.0
_LATE_MASS = 0.5 / 120
_LATE_INTERVAL_S = 30.0
_PROMOTION_RATIO = 2.0
_EXONERATION_RATIO = 3.0
_PAUSED: Mapping[Command | None, bool] = {Command.PAUSE: True, Command.RESUME: False}

START_MASS = 0.5
"""Share of the mixture over change times that bets on harm from the start: of the shadow stage and of the live one."""


def needed(phase: Phase) -> frozenset[Arm]:
    """The arms without whose counts a phase learns nothing. The shadow arm's counts are the canary's."""
    return frozenset({Arm.CANARY}) if phase is Phase.GUARD else frozenset({Arm.CANARY, Arm.STABLE})


def counted(phase: Phase, arms: Mapping[Arm, Counts | None]) -> dict[Arm, Counts | None]:
    """What each arm counted, with the challenger under the canary's name in the shadow stage, too.

    Mirrored requests that end after the shadow stage are left out, and so is a needed arm that is missing (`None`).
    """
    challenger = Arm.SHADOW if phase is Phase.SHADOW else Arm.CANARY
    others: dict[Arm, Counts | None] = {
        arm: counts for arm, counts in arms.items() if arm is not Arm.CANARY and arm is not Arm.SHADOW
    }
    missing: dict[Arm, Counts | None] = dict.fromkeys(needed(phase))
    return {**missing, **others, Arm.CANARY: arms.get(challenger)}


def take_in(state: State, observation: Observation) -> State:
    """Add a tick's counts to the batch and the totals, and note what a person said about pausing.

    Raises:
        RolloutError: counts that were not taken on the rollout's histogram grid.
    """
    now_s = state.now_s + min(max(observation.now_s - state.seen_s, 0.0), _LONGEST_WAIT_S)
    arms = counted(state.phase, observation.arms)
    present = {arm: counts for arm, counts in arms.items() if counts is not None}
    for arm, counts in present.items():
        if not counts.fits(state.reference.grid):
            raise RolloutError(
                f"The counts of the {arm} arm are not on the rollout's grid. Deploy all arms with one grid."
            )
    finished = {arm: counts.finished for arm, counts in present.items()}
    return replace(
        state,
        tick=observation.tick,
        seen_s=max(observation.now_s, state.seen_s),
        now_s=now_s,
        paused=_PAUSED.get(observation.command, state.paused),
        sources_down_s=now_s if len(present) < len(arms) else state.sources_down_s,
        batch=replace(state.batch, arms=_sum(state.batch.arms, present)),
        totals=_sum(state.totals, present),
        live=_add(state.live, finished) if state.phase is not Phase.SHADOW else state.live,
        held=_sum(state.held, present),
    )


def is_ready(state: State) -> bool:
    """Whether the batch can be weighed: every needed source answered, and there are enough requests or long waiting."""
    if state.sources_down_s == state.now_s:
        return False
    busiest = max((counts.finished for counts in state.batch.arms.values()), default=0)
    return busiest >= _FEWEST_REQUESTS or state.now_s - state.batch.since_s >= _LONGEST_WAIT_S


def weigh(state: State, policy: Policy) -> State:
    """Move all evidence by the batch, and begin a new one."""
    arms = state.batch.arms
    has_data = all(arm in arms and arms[arm].finished for arm in needed(state.phase))
    if state.phase in (Phase.SHADOW, Phase.RAMP) and state.now_s - state.spent_s >= _LATE_INTERVAL_S:
        state = put_to_work(state, policy, _LATE_MASS)
    tallies = {arm: tally(counts, state.reference) for arm, counts in arms.items()}
    return replace(
        _with_sample_ratio(_with_guard(state)),
        comparisons={
            pair: _compared(comparison, tallies, pair, state, policy) for pair, comparison in state.comparisons.items()
        },
        data_s=state.now_s if has_data else state.data_s,
        watched_s=state.watched_s + (min(state.now_s - state.data_s, _LONGEST_WAIT_S) if has_data else 0.0),
        stable_bad=state.stable_bad + _matched(state),
        batch=Batch(since_s=state.now_s),
    )


def _matched(state: State) -> float:
    canary, stable = (state.batch.arms.get(arm) for arm in (Arm.CANARY, Arm.STABLE))
    return matched(canary, stable, state.reference) if canary and stable else 0.0


def put_to_work(state: State, policy: Policy, mass: float = _LATE_MASS) -> State:
    """Bet further mass on harm that begins now: at intervals, and whenever the canary's part changes."""
    mass = min(mass, 1 - state.spent)
    if mass <= 0 or not state.comparisons:
        return state
    comparisons = {
        pair: replace(
            comparison, harm=harm_family(pair, state.phase, state.reference, policy).more(comparison.harm, mass)
        )
        for pair, comparison in state.comparisons.items()
    }
    return replace(state, comparisons=comparisons, spent=state.spent + mass, spent_s=state.now_s)


def fresh_comparisons(
    phase: Phase, reference: Reference, policy: Policy, mass: float, *, has_baseline: bool
) -> dict[Pair, Comparison]:
    """Comparisons that know nothing, of the arms that are deployed."""
    return {
        pair: Comparison(
            harm=harm_family(pair, phase, reference, policy).start(mass),
            cleared=clear_family(pair, phase, reference).start(1.0),
        )
        for pair in (Pair if has_baseline else [Pair.CANARY_STABLE])
    }


def harm_family(pair: Pair, phase: Phase, reference: Reference, policy: Policy) -> Family:
    """The tests that blame the first arm of a pair.

    Everything counts while the canary is compared with the champion before promotion. Against the baseline, and after
    promotion, scores and small latencies do not: those versions are meant to differ.
    """
    full = pair is Pair.CANARY_STABLE and phase is not Phase.CONFIRM
    return full_family(reference, policy) if full else core_family(reference, policy)


def clear_family(pair: Pair, phase: Phase, reference: Reference) -> Family:
    """The tests that clear the first arm of a pair: of a twofold harm for promotion, else of a threefold one."""
    promotion = pair is Pair.CANARY_STABLE and phase is not Phase.CONFIRM
    return clearing_family(reference, _PROMOTION_RATIO if promotion else _EXONERATION_RATIO)


def _compared(
    comparison: Comparison, tallies: Mapping[Arm, Tally], pair: Pair, state: State, policy: Policy
) -> Comparison:
    first, second = (tallies.get(arm) for arm in pair.arms)
    if first is None or second is None:
        return comparison
    harm = harm_family(pair, state.phase, state.reference, policy)
    clear = clear_family(pair, state.phase, state.reference)
    return Comparison(harm.bet(comparison.harm, first, second), clear.bet(comparison.cleared, first, second))


def _with_guard(state: State) -> State:
    canary = state.batch.arms.get(Arm.CANARY)
    if state.guard is None or canary is None:
        return state
    if state.phase is Phase.CONFIRM:
        return replace(state, guard=state.guard.relieved(canary, state.reference))
    elapsed_s = state.now_s - state.batch.since_s
    return replace(state, guard=state.guard.watched(canary, state.reference, state.now_s, elapsed_s))


def _with_sample_ratio(state: State) -> State:
    """Skip what overlaps a change of weights, and what a source missed: there the share in force is not known."""
    disturbed_s = max(state.weights_since_s, state.sources_down_s or state.weights_since_s)
    canary, stable = (state.batch.arms.get(arm) for arm in (Arm.CANARY, Arm.STABLE))
    if canary is None or stable is None or state.batch.since_s < disturbed_s + _SETTLING_S:
        return state
    part = state.weights.mirror if state.phase is Phase.SHADOW else state.weights.canary
    share = part / (part + state.weights.stable) if part else 0.0
    if not 0 < share < 1:
        return state
    elapsed_s = state.now_s - state.batch.since_s
    return replace(state, sample_ratio=state.sample_ratio.after(canary.finished, stable.finished, share, elapsed_s))


def _sum(old: Mapping[Arm, Counts], new: Mapping[Arm, Counts]) -> dict[Arm, Counts]:
    return {**old, **{arm: old[arm] + counts if arm in old else counts for arm, counts in new.items()}}


def _add(old: Mapping[Arm, int], new: Mapping[Arm, int]) -> dict[Arm, int]:
    return {**old, **{arm: old.get(arm, 0) + count for arm, count in new.items()}}
