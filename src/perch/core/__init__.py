"""The rollout engine: counts in, a decision with its reason out. Pure.

    ref = reference(stable_counts, grid, slo, evaluated=(champion_histogram, canary_histogram))
    state = begin(policy, slo, ref, arms={Arm.STABLE, Arm.CANARY}, now_s=...)
    while state.phase is not Phase.DONE:
        state, decision = decide(state, observation, policy)

`events` says what is counted, `evidence` what it proves, `weighing` when, `rules` and `aftercare` what follows from it,
`transitions` what changes then, `sentences` how it is told.
"""

from perch.core.codec import dumps, loads
from perch.core.engine import decide
from perch.core.policy import Policy, Slo
from perch.core.reference import Reference, reference
from perch.core.state import Cause, State
from perch.core.transitions import begin
from perch.core.types import Decision, Observation


def to_json(value: State | Observation | Decision | Reference | Policy) -> str:
    """Write a value of the core as one line of JSON, floats so that they read back to the same number."""
    return dumps(value)


def state_from_json(text: str) -> State:
    """Read a state. Raises `RolloutError` when the text is not one, naming the first place that does not fit."""
    return loads(State, text)


def observation_from_json(text: str) -> Observation:
    """Read an observation. Raises `RolloutError` when the text is not one, naming the first place that does not fit."""
    return loads(Observation, text)


def decision_from_json(text: str) -> Decision:
    """Read a decision. Raises `RolloutError` when the text is not one, naming the first place that does not fit."""
    return loads(Decision, text)


__all__ = [
    "Cause",
    "Policy",
    "Reference",
    "Slo",
    "State",
    "begin",
    "decide",
    "decision_from_json",
    "observation_from_json",
    "reference",
    "state_from_json",
    "to_json",
]
