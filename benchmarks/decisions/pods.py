"""S8: one of five pods of an arm fails 20 % of its requests. The engine is `decide` itself, with counts by pod.

A pod that the engine names is taken out in the next second, and the others share its requests. To roll the version back
for it would be wrong: all five run the same one. To tell a pod of the canary's from its version takes requests to each
within the half minute that a verdict waits: a start at 1 % of the traffic brings them six each, one at 10 % sixty.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from benchmarks.decisions.perch import LIVE
from benchmarks.decisions.run import Result

from perch.core import Policy, State, begin, decide, reference
from perch.core.types import Action, Arm, Counts, Observation
from perch.rehearsal.market import GRID, SLO, Behaviour, Market, Split, Traffic, always

_PODS = tuple(f"pod-{number}" for number in range(1, 6))
_SICK = Behaviour(error_rate=0.2)
_RPS = 100.0
_DURATION_S = 600
_EVALUATED = (10_000,) * (len(GRID.score_logit) + 1)


@dataclass(frozen=True, slots=True)
class Case:
    """An arm with a sick pod; none: all are well."""

    name: str
    sick: Arm | None
    policy: Policy = LIVE


def cases() -> Iterator[Case]:
    """A sick pod in either arm, and none."""
    yield Case("S8 one of five canary pods fails 20 %", Arm.CANARY)
    larger = replace(LIVE, start_weight=0.1)
    yield Case("S8 one of five canary pods fails 20 %, first weight 10 %", Arm.CANARY, larger)
    yield Case("S8 one of five stable pods fails 20 %", Arm.STABLE)
    yield Case("S8 five pods in each arm, all well", None)


@dataclass(frozen=True, slots=True)
class PodResult(Result):
    """How rollouts fared whose arms have five pods each."""

    named: float
    """Share of the replications in which the sick pod was named and no other; where all are well, in which any was."""


def run(case: Case, replications: int, seed: int = 8) -> PodResult:
    """Put our engine through one case of S8."""
    rollouts = [_rollout(case, seed + 1000 * i) for i in range(replications)]
    ends = Counter(rollout.action for rollout in rollouts)
    home = [rollout.ended_s for rollout in rollouts if rollout.action is Action.ROLL_BACK]
    promoted = [rollout.ended_s for rollout in rollouts if rollout.action is Action.PROMOTE]
    bad = [rollout.bad for rollout in rollouts]
    wanted = {_PODS[0]} if case.sick else set()
    named = [rollout.named == wanted if case.sick else bool(rollout.named) for rollout in rollouts]
    return PodResult(
        engine="perch",
        scenario=case.name,
        rps=_RPS,
        replications=replications,
        seed=seed,
        rolled_back=ends[Action.ROLL_BACK] / replications,
        promoted=ends[Action.PROMOTE] / replications,
        aborted=0.0,
        held=ends[Action.HOLD] / replications,
        median_s=float(np.median(home or promoted)) if home or promoted else None,
        bad_mean=float(np.mean(bad)),
        bad_p95=float(np.quantile(bad, 0.95, method="higher")),
        named=sum(named) / replications,
    )


@dataclass(frozen=True, slots=True)
class _End:
    action: Action
    ended_s: float
    bad: int
    named: frozenset[str]


def _rollout(case: Case, seed: int) -> _End:
    """One rollout until promotion, rollback or the end of the time; `bad` are the canary's live responses."""
    state, rest, bad = _begin(case.policy, seed), {arm: set(_PODS) for arm in (Arm.CANARY, Arm.STABLE)}, 0
    well = Market(Traffic(_RPS), 1, seed)
    market = dict.fromkeys(rest, dict.fromkeys(_PODS, well))
    if case.sick:
        sick = Market(Traffic(_RPS, canary=always(_SICK)), 1, seed + 1)
        market[case.sick] = {**market[case.sick], _PODS[0]: sick}
    for now_s in range(1, _DURATION_S + 1):
        pods = {arm: _served(state, arm, {name: market[arm][name] for name in names}) for arm, names in rest.items()}
        arms = {arm: _sum(by_name) for arm, by_name in pods.items()}
        bad += arms[Arm.CANARY].failed + arms[Arm.CANARY].latency[-1]
        state, decision = decide(state, Observation(now_s, float(now_s), arms, pods=pods), case.policy)
        for names in rest.values():
            names.difference_update(decision.eject)
        if decision.action in {Action.ROLL_BACK, Action.PROMOTE}:
            return _End(decision.action, float(now_s), bad, _named(rest))
    return _End(Action.HOLD, float(_DURATION_S), bad, _named(rest))


def _begin(policy: Policy, seed: int) -> State:
    before = Market(Traffic(100_000.0), 1, seed).tick(Split.between(np.zeros(1)))[Arm.STABLE].counts(0)
    fixed = reference(before, GRID, SLO, (_EVALUATED, _EVALUATED))
    return begin(policy, SLO, fixed, {Arm.STABLE, Arm.CANARY}, 0.0)


def _served(state: State, arm: Arm, pods: Mapping[str, Market]) -> dict[str, Counts]:
    """What each pod of an arm served, which share its part of the traffic evenly."""
    weight = state.weights.canary if arm is Arm.CANARY else state.weights.stable
    part = Split.between(np.array([weight / len(pods)]))
    return {name: pods[name].tick(part)[Arm.CANARY].counts(0) for name in sorted(pods)}


def _sum(by_name: dict[str, Counts]) -> Counts:
    return sum(by_name.values(), Counts.none(GRID))


def _named(rest: dict[Arm, set[str]]) -> frozenset[str]:
    return frozenset(name for names in rest.values() for name in _PODS if name not in names)
