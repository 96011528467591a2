"""Our own engine after promotion: how soon the guard's alarm rings, and who keeps the traffic."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache

import numpy as np
from benchmarks.decisions import run as comparison
from benchmarks.decisions.perch import ARMS, LIVE, champion, end_of, split_of
from benchmarks.decisions.rollouts import End
from benchmarks.decisions.run import Result, median, share
from benchmarks.decisions.scenarios import Scenario

from perch.core import begin
from perch.core.many import Many
from perch.core.state import State
from perch.core.types import Action, Arm, Phase
from perch.rehearsal.market import SLO, Market, Served, Traffic

_POLICY = replace(LIVE, guard_s=86_400.0)  # the guard outlasts each scenario
_WATCHED_S = 600
_RPS = 100.0
_LONGEST_RAMP_S = 3600


@dataclass(frozen=True, slots=True)
class GuardedResult(Result):
    """How a promoted version fared. Times and bad responses count from the beginning of the scenario.

    A version that is still under guard is held.
    """

    alarmed: float
    """Share of the replications in which the alarm rang at least once since the promotion."""

    soft_median_s: float | None
    """Median seconds until most of the traffic was on the safe side for the first time, over those where it was."""

    kept: float
    """Share of the replications in which the version has its traffic at the end."""


class Guarded:
    """R rollouts that were promoted ten minutes ago, and quiet since then."""

    def __init__(self, replications: int) -> None:
        self._many = Many(promoted(replications), _POLICY)
        market = Market(Traffic(_RPS), replications, seed=1)
        while market.now_s < _WATCHED_S:
            served = market.tick(split_of(self._many).only(self._many.running))
            self._many.step(float(market.now_s), served)
        self.split = split_of(self._many)
        self.ends = np.array([_end(state) for state in self._many.states], dtype=np.int8)
        self.ended_s = np.where(self.ends == End.HELD, np.nan, 0.0)
        self.soft_s = np.full(replications, np.nan)

    def step(self, now_s: int, served: Mapping[Arm, Served]) -> None:
        """Let the core take in the tick, and note alarms and ends."""
        decided = self._many.step(float(_WATCHED_S + now_s), served)
        for i in decided:
            state = self._many.states[i]
            if state.phase is Phase.CONFIRM and np.isnan(self.soft_s[i]):
                self.soft_s[i] = now_s
            if state.phase is Phase.DONE:
                self.ends[i], self.ended_s[i] = _end(state), now_s
        if decided:
            self.split = split_of(self._many)

    @property
    def alarms(self) -> list[int]:
        """How often each one's alarm rang."""
        return [state.guard.alarms if state.guard else 0 for state in self._many.states]

    @property
    def kept(self) -> list[bool]:
        """Which of them have their traffic."""
        return [state.phase is Phase.GUARD or state.outcome is Action.PROMOTE for state in self._many.states]


def run(engine: str, scenario: Scenario, replications: int) -> GuardedResult:
    """Put promoted versions through `scenario`."""
    rollouts = Guarded(replications)
    result = comparison.run(engine, lambda _scenario, _replications: rollouts, scenario, replications)
    return GuardedResult(
        **asdict(result),
        alarmed=share(np.array(rollouts.alarms) > 0),
        soft_median_s=median(rollouts.soft_s[~np.isnan(rollouts.soft_s)]),
        kept=share(np.array(rollouts.kept)),
    )


@cache
def promoted(replications: int) -> list[State]:
    """Rollouts of good canaries at the moment of their promotion, which is their time 0.

    A few more are begun than are wanted: a rollback of a good canary is rare, not impossible.
    """
    begun = replications + replications // 20 + 1
    many = Many([begin(_POLICY, SLO, champion(), ARMS, now_s=0.0)] * begun, _POLICY)
    market, found = Market(Traffic(_RPS), begun, seed=0), dict[int, State]()
    while len(found) < replications and market.now_s < _LONGEST_RAMP_S:
        is_ramping = np.array([state.phase is Phase.RAMP for state in many.states])
        decided = many.step(float(market.now_s + 1), market.tick(split_of(many).only(is_ramping)))
        found |= {i: many.states[i] for i in decided if i not in found and many.states[i].promoted_by}
    return [state._replace(tick=-1, seen_s=0.0) for state in found.values()][:replications]


def _end(state: State) -> End:
    return end_of(state) if state.phase is Phase.DONE else End.HELD
