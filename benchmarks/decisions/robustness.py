"""What breaks the assumptions, and what the engine then does: `python -m benchmarks.decisions.robustness`.

Each flaw spoils one thing that the statistics rest on. An identical canary under it shows what the flaw costs in false
rollbacks, a canary with 5 % errors whether the fault is still found. 100 requests a second, five minutes, live only.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from perch.core import Policy, State, begin, decide, reference
from perch.core.types import Action, Arm, Counts, Observation, Phase, Weights
from perch.rehearsal.market import GRID, SLO, Behaviour, Market, Split, Traffic

RPS = 100.0
DURATION_S = 300
LIVE = Policy(shadow=False)
_EVALUATED = (10_000,) * (len(GRID.score_logit) + 1)
_RESULTS = Path(__file__).parents[1] / "results" / "robustness.json"
_ARMS = (Arm.STABLE, Arm.CANARY)


class World:
    """Two arms of which the canary fails `error_rate` of its requests; without any flaw."""

    def __init__(self, error_rate: float, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.error_rate = {Arm.STABLE: 0.001, Arm.CANARY: error_rate}
        self.latency_factor = dict.fromkeys(_ARMS, 1.0)
        self._market = {
            arm: Market(Traffic(RPS, canary=lambda _now_s, arm=arm: self._behaviour(arm)), 1, seed + number)  # type: ignore[misc]
            for number, arm in enumerate(_ARMS)
        }

    def _behaviour(self, arm: Arm) -> Behaviour:
        return Behaviour(error_rate=min(self.error_rate[arm], 1.0), latency_factor=self.latency_factor[arm])

    def serve(self, arm: Arm, share: float) -> Counts:
        """What an arm really served in a second in which it got `share` of the traffic."""
        return self._market[arm].tick(Split.between(np.array([share])))[Arm.CANARY].counts(0)

    def tick(self, now_s: int, weights: Weights) -> Mapping[Arm, Counts | None]:
        """What the engine is told of a second."""
        self._spoil(now_s, weights)
        return self._tell({arm: self.serve(arm, getattr(weights, arm.value)) for arm in _ARMS})

    def _spoil(self, now_s: int, weights: Weights) -> None:
        """Change how the arms answer in this second."""

    def _tell(self, served: Mapping[Arm, Counts]) -> Mapping[Arm, Counts | None]:
        """Change what is told of it."""
        return served


class StickyUsers(World):
    """2,000 users stay with an arm; twenty of them fail a tenth of the time. Few users are no fair sample."""

    def __init__(self, error_rate: float, seed: int) -> None:
        super().__init__(error_rate, seed)
        self._hard, self._usual = self.rng.random(20), dict(self.error_rate)

    def _spoil(self, _now_s: int, weights: Weights) -> None:
        for arm, hard in ((Arm.CANARY, self._hard < weights.canary), (Arm.STABLE, self._hard >= weights.canary)):
            self.error_rate[arm] = self._usual[arm] + 0.1 * hard.sum() / (2000 * getattr(weights, arm.value))


class StickyRetries(World):
    """Each failed request is sent twice more to the same arm, and fails again: failures come in threes."""

    def _tell(self, served: Mapping[Arm, Counts]) -> Mapping[Arm, Counts | None]:
        return {arm: replace(counts, failed=3 * counts.failed) for arm, counts in served.items()}


class ColdCanary(World):
    """The canary's first 30 answers take ten times as long."""

    served = 0

    def _spoil(self, _now_s: int, _weights: Weights) -> None:
        self.latency_factor[Arm.CANARY] = 10.0 if self.served < 30 else 1.0

    def _tell(self, served: Mapping[Arm, Counts]) -> Mapping[Arm, Counts | None]:
        self.served += served[Arm.CANARY].finished
        return served


class SmallCanary(World):
    """The canary has one pod for ten requests a second; beyond that its answers take longer and longer."""

    def _spoil(self, _now_s: int, weights: Weights) -> None:
        self.latency_factor[Arm.CANARY] = max(1.0, RPS * weights.canary / 10.0)


class HardRequestsInCanary(World):
    """A tenth of the requests are hard, fail five times as often, and are routed to the canary first."""

    def __init__(self, error_rate: float, seed: int) -> None:
        super().__init__(error_rate, seed)
        self._usual = error_rate

    def _spoil(self, _now_s: int, weights: Weights) -> None:
        self.error_rate[Arm.CANARY] = self._usual * (1 + 4 * min(0.1 / weights.canary, 1.0))


class ExtrapolatedCounters(World):
    """Counts come from extrapolated rates: each arm's are up to 15 % too many or too few, anew in each second."""

    def _tell(self, served: Mapping[Arm, Counts]) -> Mapping[Arm, Counts | None]:
        return {arm: self._stretched(counts, self.rng.uniform(0.85, 1.15)) for arm, counts in served.items()}

    def _stretched(self, counts: Counts, factor: float) -> Counts:
        def stretch(bins: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(np.floor(np.array(bins) * factor + self.rng.random(len(bins))).astype(int).tolist())

        latency, (failed,) = stretch(counts.latency), stretch((counts.failed,))
        return Counts(failed + sum(latency), failed, latency, stretch(counts.scores))


class LateScrapes(World):
    """One reading in five fails; the next that works covers the time."""

    def __init__(self, error_rate: float, seed: int) -> None:
        super().__init__(error_rate, seed)
        self._missed = dict.fromkeys(_ARMS, Counts.none(GRID))

    def _tell(self, served: Mapping[Arm, Counts]) -> Mapping[Arm, Counts | None]:
        return {arm: self._read(arm, counts) for arm, counts in served.items()}

    def _read(self, arm: Arm, counts: Counts) -> Counts | None:
        so_far, is_lost = self._missed[arm] + counts, self.rng.random() < 0.2
        self._missed[arm] = so_far if is_lost else Counts.none(GRID)
        return None if is_lost else so_far


class UnequalScrapes(World):
    """The canary is read a second later than the champion, in an incident of 20 s that fails a fifth of everything."""

    def __init__(self, error_rate: float, seed: int) -> None:
        super().__init__(error_rate, seed)
        self._usual, self._late = dict(self.error_rate), Counts.none(GRID)

    def _spoil(self, now_s: int, _weights: Weights) -> None:
        incident = 0.2 if 60 < now_s <= 80 else 0.0
        self.error_rate = {arm: rate + incident for arm, rate in self._usual.items()}

    def _tell(self, served: Mapping[Arm, Counts]) -> Mapping[Arm, Counts | None]:
        canary, self._late = self._late, served[Arm.CANARY]
        return {**served, Arm.CANARY: canary}


@dataclass(frozen=True, slots=True)
class Flaw:
    """A broken assumption, under a policy."""

    name: str
    world: Callable[[float, int], World]

    remedy: str
    """What a person does about it."""

    policy: Policy = LIVE


FLAWS = (
    Flaw("nothing", World, "nothing"),
    Flaw("sticky users, 1 % of them hard", StickyUsers, "route by request; else a larger first weight"),
    Flaw("the same, first weight 10 %", StickyUsers, "nothing", replace(LIVE, start_weight=0.1)),
    Flaw("retries to the same arm: failures come in threes", StickyRetries, "retry in the router, to any arm"),
    Flaw("a cold canary: its first 30 answers are slow", ColdCanary, "warm it up, or `warmUpRequests`"),
    Flaw("the same, `warmUpRequests: 30`", ColdCanary, "nothing", replace(LIVE, warm_up_requests=30)),
    Flaw("a canary too small for its share", SmallCanary, "scale it first: users would wait, so this is no mistake"),
    Flaw("hard requests go to the canary", HardRequestsInCanary, "route by chance"),
    Flaw("extrapolated counters, ± 15 %", ExtrapolatedCounters, "read counters, not rates"),
    Flaw("one reading in five is lost", LateScrapes, "nothing: the next one covers the time"),
    Flaw("arms read a second apart, in an incident", UnequalScrapes, "nothing: it costs time"),
)


def rehearse(flaw: Flaw, error_rate: float, seed: int) -> tuple[Action | None, int]:
    """One rollout under a flaw: how it ended, if it did, and the canary's bad responses."""
    world, state, bad = flaw.world(error_rate, seed), _begin(flaw.policy, seed), 0
    for now_s in range(1, DURATION_S + 1):
        told = world.tick(now_s, state.weights)
        canary = told[Arm.CANARY]
        bad += canary.failed + canary.latency[-1] if canary else 0
        state, decision = decide(state, Observation(now_s, float(now_s), told), flaw.policy)
        if decision.action is Action.PROMOTE or state.phase is Phase.DONE:
            return decision.action, bad
    return None, bad


def _begin(policy: Policy, seed: int) -> State:
    before = Market(Traffic(100_000.0), 1, seed).tick(Split.between(np.zeros(1)))[Arm.STABLE].counts(0)
    fixed = reference(before, GRID, SLO, (_EVALUATED, _EVALUATED))
    return begin(policy, SLO, fixed, {Arm.STABLE, Arm.CANARY}, 0.0)


def main(replications: int = 200) -> None:
    """Print one row a flaw, and write `benchmarks/results/robustness.json`."""
    console = Console(width=120)
    table = Table("assumption broken by", "identical canary: rolled back", "promoted", "5 % errors: rolled back", "bad")
    rows = []
    for flaw in track(FLAWS, "simulating", console=console, transient=True):
        same, worse = ([rehearse(flaw, rate, seed) for seed in range(replications)] for rate in (0.001, 0.05))
        row = {
            "flaw": flaw.name,
            "remedy": flaw.remedy,
            "replications": replications,
            "same_rolled_back": _share(same, Action.ROLL_BACK),
            "same_promoted": _share(same, Action.PROMOTE),
            "worse_rolled_back": _share(worse, Action.ROLL_BACK),
            "worse_bad_mean": float(np.mean([bad for _, bad in worse])),
        }
        rows.append(row)
        told = f"{row['same_rolled_back']:.1%} {row['same_promoted']:.0%} {row['worse_rolled_back']:.0%}".split()
        table.add_row(flaw.name, *told, f"{row['worse_bad_mean']:.1f}")
    _RESULTS.parent.mkdir(parents=True, exist_ok=True)
    _RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    console.print(table)
    console.print(f"{replications} replications each, {DURATION_S} s at {RPS:g} requests a second.")


def _share(ends: list[tuple[Action | None, int]], action: Action) -> float:
    return sum(end is action for end, _ in ends) / len(ends)


if __name__ == "__main__":
    main()
