"""The decision: from a state and the counts of one tick to the next state, and what to do.

Pure: no clock, no input or output, no chance. The same state, observation and policy give the same decision, so a
recorded rollout can be replayed.
"""

from collections.abc import Callable, Iterable, Mapping

from perch.core import aftercare, rules, sentences
from perch.core.events import Tick
from perch.core.policy import Policy
from perch.core.rules import Move
from perch.core.situation import Situation
from perch.core.state import State
from perch.core.types import Action, Decision, Observation, Phase, Verdict
from perch.core.weighing import advance, tick_of

Rule = Callable[[Situation], Move | None]

RULES: Mapping[Phase, tuple[Rule, ...]] = {
    Phase.SHADOW: (
        rules.obey,
        rules.eject_pod,
        rules.champion_harms,
        rules.canary_harms,
        rules.split_is_wrong,
        rules.starved,
        rules.go_live,
    ),
    Phase.RAMP: (
        rules.obey,
        rules.eject_pod,
        rules.champion_harms,
        rules.canary_harms,
        rules.split_is_wrong,
        rules.starved,
        rules.lower_weight,
        rules.promote,
        rules.raise_weight,
    ),
    Phase.GUARD: (
        rules.obey,
        rules.eject_pod,
        rules.canary_harms,
        rules.split_is_wrong,
        rules.starved,
        aftercare.alarm,
        aftercare.pass_guard,
    ),
    Phase.CONFIRM: (
        rules.obey,
        rules.eject_pod,
        aftercare.blame_both,
        aftercare.blame_canary,
        rules.split_is_wrong,
        aftercare.exonerate,
        aftercare.relieve,
        aftercare.give_up,
        rules.starved,
    ),
}
"""What is asked in each phase, in this order; the first rule that moves decides."""


def decide(state: State, observation: Observation, policy: Policy) -> tuple[State, Decision]:
    """Take in one tick and decide.

    A tick that was seen before changes nothing, and so does any tick after the end.

    Raises:
        RolloutError: counts that were not taken on the rollout's histogram grid.
    """
    if state.phase is Phase.DONE:
        return state, _unchanged(state, Verdict.UNDECIDED, f"The rollout is over ({state.cause}).")
    if observation.tick <= state.tick:
        seen = f"Tick {observation.tick} was ignored: the rollout is at tick {state.tick} already."
        return state, _unchanged(state, Verdict.NO_DATA, seen)
    return decide_events(state, tick_of(observation, state.phase, state.reference), policy)


def decide_events(state: State, tick: Tick, policy: Policy) -> tuple[State, Decision]:
    """Decide about a new tick of a rollout in progress, given its events."""
    situation = Situation(*advance(state, tick, policy), policy, tick)
    move = _first_move(situation, RULES[state.phase])
    return move.state, Decision(
        action=move.action,
        weights=move.state.weights,
        phase=move.state.phase,
        verdict=move.verdict,
        sentence=move.sentence,
        e_value=situation.strongest if move.action is Action.FALL_BACK else situation.e_value,
        harm_bound=situation.harm_bound,
        eject=move.eject,
    )


def _first_move(situation: Situation, rules_of_phase: Iterable[Rule]) -> Move:
    for rule in rules_of_phase:
        if move := rule(situation):
            return move
    return _hold(situation)


def _hold(s: Situation) -> Move:
    paused = "paused; " if s.state.paused else ""
    warning = f"; the champion does not answer its share: {sentences.silence(s)}" if s.champion_is_silent else ""
    if s.no_data:
        return Move(s.state, Action.HOLD, Verdict.NO_DATA, f"No data: {paused}{s.no_data}.")
    if s.state.phase is Phase.GUARD:
        return Move(s.state, Action.HOLD, Verdict.HEALTHY, f"Guard: {paused}{sentences.guard_level(s)}{warning}.")
    proven = s.harm_bound is not None and s.harm_bound < s.policy.margin and s.e_value <= s.policy.freeze_e_value
    verdict = Verdict.HEALTHY if proven else Verdict.UNDECIDED
    share = f"{sentences.percent(s.state.weights.canary)} of the traffic"
    stage = "Shadow" if s.state.phase is Phase.SHADOW else f"Holding at {share}"
    return Move(s.state, Action.HOLD, verdict, f"{stage}: {paused}{sentences.standing(s)}{warning}.")


def _unchanged(state: State, verdict: Verdict, sentence: str) -> Decision:
    return Decision(Action.HOLD, state.weights, state.phase, verdict, sentence, e_value=1.0, harm_bound=None)
