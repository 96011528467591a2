"""S3: outcomes that come late. One rollout at a time, for labels are more than counts; the engine is `decide` itself.

Clicks come after an exponential delay of 600 s on average; only clicks are seen. A pair (the champion's answer and the
shadow's to the same request) is judged at the fixed age of 1,800 s, when 95 % of the clicks have come: before it no
label is mature. The canary's log loss is made worse by noise on the champion's log-odds, which leaves its errors, its
latency and the deciles of its scores as they are.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from math import exp

import numpy as np
from benchmarks.decisions.run import Result

from perch.core import Policy, begin, decide, reference
from perch.core.paired import loss, spread
from perch.core.policy import Labels
from perch.core.types import Action, Arm, Cohort, Counts, Observation, Outcomes, Phase
from perch.rehearsal.market import GRID, SLO, Floats, Market, Split, Traffic

CLICK_RATE = 0.02
_TYPICAL_LOGIT = -4.34  # with a spread of 1, 2 % of the requests are clicked
_ERROR = 0.3  # of the champion, in log-odds
DELAY_S = 600.0
AGE_S = 1800
_MATURED = 1 - exp(-AGE_S / DELAY_S)
_POOL = 200_000
_RPS = 100.0
_EVALUATED = (10_000,) * (len(GRID.score_logit) + 1)


@dataclass(frozen=True, slots=True)
class Case:
    """A canary whose outcomes differ from the champion's."""

    name: str
    engine: str
    policy: Policy
    worse: float = 0.0
    """By how much its log loss is worse, as a share of the champion's."""

    fewer_clicks: float = 0.0
    """Share of the champion's clicks that it earns less."""

    duration_s: int = 2700


def cases() -> Iterator[Case]:
    """The canaries of S3, and one that is as good as the champion."""
    shadow = Policy(labels=Labels.WATCHED)
    yield Case("S3 log loss no worse", "perch-shadow", shadow)
    for share in (0.01, 0.05, 0.2):
        yield Case(f"S3 log loss {100 * share:g} % worse", "perch-shadow", shadow, worse=share)
    required = Policy(labels=Labels.REQUIRED)
    yield Case("S3 log loss 5 % worse, labels required", "perch-shadow", required, worse=0.05)
    live = Policy(shadow=False, labels=Labels.REQUIRED)
    yield Case("S3 clicks 20 % fewer, only clicks seen", "perch", live, fewer_clicks=0.2, duration_s=3600)
    yield Case("S3 clicks 50 % fewer, only clicks seen", "perch", live, fewer_clicks=0.5, duration_s=3600)


def run(case: Case, replications: int, seed: int = 3) -> Result:
    """Put our engine through one case of S3.

    Where pairs tell, the seconds until a canary goes home count from when the first label is mature.
    """
    pool = _differences(case.worse, np.random.default_rng(seed))
    rollouts = [_rollout(case, pool, seed + 1000 * i) for i in range(replications)]
    ends = Counter(action for action, _, _ in rollouts)
    home = [ended_s for action, ended_s, _ in rollouts if action is Action.ROLL_BACK]
    promoted = [ended_s for action, ended_s, _ in rollouts if action is Action.PROMOTE]
    bad = [responses for _, _, responses in rollouts]
    return Result(
        engine=case.engine,
        scenario=case.name,
        rps=_RPS,
        replications=replications,
        seed=seed,
        rolled_back=ends[Action.ROLL_BACK] / replications,
        promoted=ends[Action.PROMOTE] / replications,
        aborted=0.0,
        held=ends[Action.HOLD] / replications,
        median_s=_median(home, AGE_S if case.worse else 0) if home else _median(promoted, 0),
        bad_mean=float(np.mean(bad)),
        bad_p95=float(np.quantile(bad, 0.95, method="higher")),
    )


def _median(times_s: list[float], from_s: float) -> float | None:
    return float(np.median(times_s)) - from_s if times_s else None


def _differences(worse: float, rng: np.random.Generator) -> Floats:
    """Differences of loss at the label's age, in nats, of many requests, shape (n,); their mean is `worse` losses.

    Both versions err about the truth, each in its own way: an equally good canary is not the same canary.
    """
    logit = rng.normal(_TYPICAL_LOGIT, 1.0, _POOL)
    clicked = rng.random(_POOL) < _probability(logit) * _MATURED
    champion = loss(_probability(logit + _ERROR * rng.normal(size=_POOL)), clicked, _MATURED)
    noise, low, high = rng.normal(size=_POOL), 0.0, 5.0
    for _ in range(40):
        middle = (low + high) / 2
        canary = loss(_probability(logit + middle * noise), clicked, _MATURED)
        low, high = (middle, high) if canary.mean() < (1 + worse) * champion.mean() else (low, middle)
    return canary - champion


def _champion_loss() -> float:
    rng = np.random.default_rng(0)
    logit = rng.normal(_TYPICAL_LOGIT, 1.0, _POOL)
    clicked = rng.random(_POOL) < _probability(logit)
    return float(loss(_probability(logit + _ERROR * rng.normal(size=_POOL)), clicked, 1.0).mean())


def _probability(logit: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logit)))


def _rollout(case: Case, pool: Floats, seed: int) -> tuple[Action, float, int]:
    """One rollout: how it stands at the end, since when, and the canary's bad live responses."""
    rng, market = np.random.default_rng(seed), Market(Traffic(_RPS), 1, seed)
    before = Market(Traffic(100_000.0), 1, seed).tick(Split.between(np.zeros(1)))[Arm.STABLE].counts(0)
    fixed = reference(before, GRID, SLO, (_EVALUATED, _EVALUATED), _champion_loss())
    state = begin(case.policy, SLO, fixed, {Arm.STABLE, Arm.CANARY}, 0.0)
    clicks: defaultdict[int, list[Cohort]] = defaultdict(list)
    pairs: dict[int, int] = {}
    promoted_s, bad = None, 0
    for now_s in range(1, case.duration_s + 1):
        weights = state.weights
        share = [np.array([part]) for part in (weights.baseline, weights.stable, weights.canary, weights.mirror)]
        counts = {arm: served.counts(0) for arm, served in market.tick(Split(*share)).items()}
        bad += counts[Arm.CANARY].failed + counts[Arm.CANARY].latency[-1]
        pairs[now_s] = int(counts[Arm.STABLE].answered * weights.mirror)
        _click(case, counts, now_s, clicks, rng)
        matured = pairs.pop(now_s - AGE_S, 0)
        paired = spread(rng.choice(pool, matured)) if matured else ()
        outcomes = Outcomes(tuple(clicks.pop(now_s, ())), paired)
        state, decision = decide(state, Observation(now_s, float(now_s), counts, outcomes=outcomes), case.policy)
        if decision.action is Action.PROMOTE:
            promoted_s = float(now_s)
        if state.phase is Phase.DONE and state.outcome is not Action.PROMOTE:
            return Action.ROLL_BACK, float(now_s), bad
    return (Action.HOLD, float(case.duration_s), bad) if promoted_s is None else (Action.PROMOTE, promoted_s, bad)


def _click(
    case: Case, counts: dict[Arm, Counts], now_s: int, clicks: defaultdict[int, list[Cohort]], rng: np.random.Generator
) -> None:
    """Note the clicks that this second's answers will earn, by the second in which each will come."""
    canary, stable = counts[Arm.CANARY].answered, counts[Arm.STABLE].answered
    if not (canary and stable):
        return
    share = canary / (canary + stable)
    earned = rng.binomial(canary, CLICK_RATE * (1 - case.fewer_clicks)), rng.binomial(stable, CLICK_RATE)
    for arm, number in enumerate(earned):
        for delay_s in rng.exponential(DELAY_S, number):
            clicks[now_s + 1 + int(delay_s)].append(Cohort(share, canary=int(arm == 0), stable=int(arm == 1)))
