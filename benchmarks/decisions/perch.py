"""Our own engine in the comparison: the shipped core, with its defaults, many rollouts at a time."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
from benchmarks.decisions.rollouts import End
from benchmarks.decisions.scenarios import Scenario

from perch.core import Cause, Policy, Reference, begin, reference
from perch.core.many import Many
from perch.core.state import State
from perch.core.types import Action, Arm, Phase
from perch.rehearsal.market import GRID, SLO, Market, Served, Split, Traffic

ARMS = frozenset({Arm.STABLE, Arm.CANARY})
LIVE = Policy(shadow=False)
SHADOW_FIRST = Policy()

_REQUESTS_BEFORE = 100_000.0


@cache
def champion() -> Reference:
    """What is fixed before each rollout, from about 100,000 requests of a good champion.

    The canary is meant to score as the champion does.
    """
    nobody = Split.between(np.zeros(1))
    before = Market(Traffic(_REQUESTS_BEFORE), 1, seed=0).tick(nobody)[Arm.STABLE].counts(0)
    return reference(before, GRID, SLO, (before.scores, before.scores))


def split_of(many: Many) -> Split:
    """Where the traffic of the rollouts goes."""
    return Split(*(many.weights(arm) for arm in ("baseline", "stable", "canary", "mirror")))


class Perch:
    """R rollouts under one policy, from the first request to a rollback or a promotion."""

    def __init__(self, scenario: Scenario, replications: int, policy: Policy) -> None:
        """Begin them; where there is no promotion, the canary is baked for longer than the scenario takes."""
        if not scenario.promotion:
            policy = replace(policy, bake_s=2.0 * scenario.duration_s)
        state = begin(policy, SLO, champion(), ARMS, now_s=0.0)
        self._many = Many([state] * replications, policy)
        self.split = split_of(self._many)
        self.ends = np.full(replications, End.HELD, dtype=np.int8)
        self.ended_s = np.full(replications, np.nan)

    def step(self, now_s: int, served: Mapping[Arm, Served]) -> None:
        """Let the core take in the tick, and note what has ended. A promoted canary is watched no further."""
        decided = self._many.step(float(now_s), served)
        for i in decided:
            if self.ends[i] == End.HELD and (end := end_of(self._many.states[i])) != End.HELD:
                self.ends[i], self.ended_s[i] = end, now_s
        if decided:
            self.split = split_of(self._many)


def end_of(state: State) -> End:
    """How a rollout ended, in the words of the comparison. Only a canary that was found to harm is rolled back."""
    if state.phase is not Phase.DONE:
        return End.PROMOTED if state.promoted_by else End.HELD
    if state.outcome is Action.PROMOTE:
        return End.PROMOTED
    return End.ROLLED_BACK if state.cause is Cause.HARM else End.ABORTED
