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

__all__ = [
    "Cause",
    "Policy",
    "Reference",
    "Slo",
    "State",
    "begin",
    "decide",
    "dumps",
    "loads",
    "reference",
]
