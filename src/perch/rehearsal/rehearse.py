"""Rollouts from one turn to the next, against simulated arms: what the shipped engine does to traffic of known truth.

The market's latencies are shares of its SLO, so they stand in for those of any other one: its champion fails 0.1 % of
the requests, and its p99 is 60 % of what the SLO allows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import inf
from typing import Self

import numpy as np

from perch.core import Cause, Policy, Reference, Slo, State, begin, reference
from perch.core.many import Many
from perch.core.types import Action, Arm, Grid, Phase
from perch.rehearsal.market import GRID, SLO, Floats, Ints, Market, Mask, Served, Split, Traffic

ARMS = frozenset({Arm.STABLE, Arm.CANARY})
"""The arms of a rehearsal; a baseline arm plays no part in what is asked of it."""

_BEFORE_PROMOTION = frozenset({Phase.SHADOW, Phase.RAMP})
_AFTER_PROMOTION = frozenset({Phase.GUARD, Phase.CONFIRM})
_REQUESTS_BEFORE = 100_000.0
_FULL = 1 - 1e-6  # of the largest weight: below that the ramp goes on


@dataclass(frozen=True, slots=True)
class Outcome:
    """How R rollouts went. Times are in seconds since the rehearsal began, `inf` for never; each field `(R,)`."""

    live_s: Floats
    """When the canary got live traffic; 0 where it began with some."""

    enough_s: Floats
    """When each arm had answered `Policy.min_requests` live requests, counted from then on."""

    full_s: Floats
    """When the canary had `Policy.max_weight`."""

    promoted_s: Floats

    alarmed_s: Floats
    """When the guard took most of the traffic back for the first time."""

    home_s: Floats
    """When the rollout ended at an older version because something was wrong with the canary, or with the split."""

    undecided_s: Floats
    """When it ended there for want of data."""

    bad: Ints
    """Live responses of the canary that failed, came late or never came, as far as the rehearsal went."""

    @property
    def replications(self) -> int:
        """How many rollouts these are."""
        return len(self.bad)

    def __add__(self, other: Self) -> Self:
        pairs = ((getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return type(self)(*map(np.concatenate, pairs))


def stand_in(slo: Slo) -> Reference:
    """What is fixed before each rollout, from 100,000 requests of a champion whose p99 is 60 % of the SLO.

    The canary is meant to score as the champion does.
    """
    scale = slo.latency_p99_ms / SLO.latency_p99_ms
    below = (edge_ms * scale for edge_ms in GRID.latency_ms[:-1])
    grid = Grid((*below, slo.latency_p99_ms), GRID.score_logit)
    before = Market(Traffic(_REQUESTS_BEFORE), 1, seed=0).tick(Split.between(np.zeros(1)))[Arm.STABLE].counts(0)
    return reference(before, grid, slo, (before.scores, before.scores))


def beginning(policy: Policy, slo: Slo) -> State:
    """A rollout of a policy, before its first request."""
    return begin(policy, slo, stand_in(slo), ARMS, now_s=0.0)


def rehearse(
    states: Sequence[State], policy: Policy, traffic: Traffic, *, seed: int, limit_s: float
) -> tuple[Outcome, list[State]]:
    """Go on from these states, second by second: until promotion, or from there until the guard has ended.

    Args:
        states: R rollouts, or none, at the same tick, all before their promotion or all after it; see `Many`.
        policy: The policy of all of them.
        traffic: What they meet; its clock begins at 0.
        seed: Of the arrivals and of what becomes of them.
        limit_s: Simulated time after which a rollout that goes on is left.

    Returns:
        How they went, and where they stood when they were left, with the clock of the last one.
    """
    if not states:
        return _Log(states, policy).outcome, []
    goes_on = _BEFORE_PROMOTION if states[0].phase in _BEFORE_PROMOTION else _AFTER_PROMOTION
    many, market, began_s = Many(states, policy), Market(traffic, len(states), seed), states[0].now_s
    log = _Log(many.states, policy)
    going = np.ones(len(states), dtype=np.bool_)
    while market.now_s < limit_s and going.any():
        served = market.tick(log.split.only(going))
        decisions = many.step(began_s + market.now_s, served)
        log.count(served, market.now_s)
        for i, decision in decisions.items():
            if going[i]:
                log.note(i, many.states[i], market.now_s)
                going[i] = decision.phase in goes_on
    return log.outcome, [many.state(i) for i in range(len(states))]


class _Log:
    """What is written down of rollouts while they run."""

    def __init__(self, states: Sequence[State], policy: Policy) -> None:
        self._policy = policy
        self._times_s = {field.name: np.full(len(states), inf) for field in fields(Outcome) if field.name != "bad"}
        self._bad, self._canary, self._stable = np.zeros((3, len(states)), dtype=np.int64)
        self.split = Split(*np.zeros((len(fields(Split)), len(states))))
        for i, state in enumerate(states):
            self.note(i, state, 0)

    @property
    def outcome(self) -> Outcome:
        """All of it."""
        return Outcome(**self._times_s, bad=self._bad)

    def note(self, i: int, state: State, now_s: int) -> None:
        """One rollout was decided on."""
        for field in fields(Split):
            getattr(self.split, field.name)[i] = getattr(state.weights, field.name)
        is_back = state.phase is Phase.DONE and state.outcome is not Action.PROMOTE
        is_undecided = state.cause is Cause.INCONCLUSIVE
        reached = {
            "live_s": state.weights.canary > 0,
            "full_s": state.weights.canary >= self._policy.max_weight * _FULL,
            "promoted_s": state.promoted_by is not None,
            "alarmed_s": state.phase is Phase.CONFIRM,
            "home_s": is_back and not is_undecided,
            "undecided_s": is_back and is_undecided,
        }
        for name, is_so in reached.items():
            if is_so:
                self._times_s[name][i] = min(self._times_s[name][i], now_s)

    def count(self, served: Mapping[Arm, Served], now_s: int) -> None:
        """A second is over."""
        is_live: Mask = self._times_s["live_s"] < inf
        self._bad += served[Arm.CANARY].bad
        self._canary += served[Arm.CANARY].finished * is_live
        self._stable += served[Arm.STABLE].finished * is_live
        enough = np.minimum(self._canary, self._stable) >= self._policy.min_requests
        self._times_s["enough_s"] = np.minimum(self._times_s["enough_s"], np.where(enough, now_s, inf))
