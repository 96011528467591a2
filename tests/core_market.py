"""A seeded market for the core: arms behind a random split, with delay between a decision and its effect."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from perch.core import Policy, Slo, State, begin, decide, reference
from perch.core.types import Action, Arm, Command, Counts, Decision, Observation, Phase, Weights
from perch.signals.names import grid

SLO = Slo(latency_p99_ms=100.0)
GRID = grid(100.0)
ALL_ARMS = frozenset({Arm.STABLE, Arm.CANARY, Arm.BASELINE})
TWO_ARMS = frozenset({Arm.STABLE, Arm.CANARY})


@dataclass(frozen=True)
class Version:
    """How one version answers. Latency is lognormal, scores are normal in log-odds."""

    error_rate: float = 0.001
    median_ms: float = 15.0
    sigma: float = 0.6
    score_mean: float = -4.0
    score_sd: float = 1.0
    silent: bool = False

    def evaluate(self, rng) -> tuple[int, ...]:
        """Histogram of the scores of 6,000 rows."""
        return replace(self, error_rate=0.0).serve(6_000, rng).scores

    def serve(self, requests: int, rng) -> Counts:
        if self.silent:
            return Counts.none(GRID)
        failed = int(rng.binomial(requests, min(self.error_rate, 1.0)))
        answered = requests - failed
        latency = np.searchsorted(GRID.latency_ms, rng.lognormal(np.log(self.median_ms), self.sigma, answered))
        scores = np.searchsorted(GRID.score_logit, rng.normal(self.score_mean, self.score_sd, answered))
        return Counts(
            requests,
            failed,
            tuple(np.bincount(latency, minlength=len(GRID.latency_ms) + 1).tolist()),
            tuple(np.bincount(scores, minlength=len(GRID.score_logit) + 1).tolist()),
        )


GOOD = Version()
Behaviour = Callable[[Phase, float], Version]


def always(version: Version) -> Behaviour:
    return lambda phase, elapsed_s: version


ALWAYS_GOOD = always(GOOD)


@dataclass
class Market:
    """One rollout against simulated traffic. Weights take effect `delay` ticks after the decision."""

    policy: Policy = field(default_factory=Policy)
    canary: Behaviour = ALWAYS_GOOD
    stable: Behaviour = ALWAYS_GOOD
    baseline: Behaviour = ALWAYS_GOOD
    arms: frozenset[Arm] = TWO_ARMS
    evaluated: tuple[Version, Version] = (GOOD, GOOD)
    """How champion and canary answered in their evaluations."""

    champion_loss: float | None = None
    """Log loss of the champion in its evaluation."""

    before: int = 20_000
    """Requests that the champion answered before the rollout."""

    rps: float = 100.0
    seed: int = 0
    delay: int = 0
    commands: dict[int, Command] = field(default_factory=dict)
    edit: Callable[[Observation], Observation] = lambda observation: observation
    bad: int = 0
    promoted_s: float | None = None
    decisions: list[Decision] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)

    def __post_init__(self):
        self.rng = np.random.default_rng(self.seed)
        before = self.stable(Phase.SHADOW, 0.0).serve(self.before, self.rng)
        champion, canary = (version.evaluate(self.rng) for version in self.evaluated)
        self.reference = reference(before, GRID, SLO, (champion, canary), self.champion_loss)
        self.state = begin(self.policy, SLO, self.reference, self.arms, 1_000.0)
        self.in_force = deque([self.state.weights] * (self.delay + 1))
        self.tick = 0
        self.phase_ticks = 0

    def run(self, limit_s: int, until: Callable[[State], bool] = lambda state: state.phase is Phase.DONE) -> State:
        for _ in range(limit_s):
            self.step()
            if until(self.state):
                break
        return self.state

    def step(self) -> Decision:
        self.tick += 1
        now_s = 1_000.0 + self.tick
        served = self.serve(self.in_force.popleft(), self.state.phase, now_s - self.state.phase_since_s)
        observation = self.edit(Observation(self.tick, now_s, served, self.commands.get(self.tick)))
        self.observations.append(observation)
        self.state, decision = decide(self.state, observation, self.policy)
        if decision.action is Action.PROMOTE:
            self.promoted_s = self.state.now_s
        self.in_force.append(decision.weights)
        self.decisions.append(decision)
        return decision

    def serve(self, weights: Weights, phase: Phase, elapsed_s: float) -> dict[Arm, Counts | None]:
        total = int(self.rng.poisson(self.rps))
        shares = [weights.baseline, weights.stable, weights.canary]
        n_baseline, n_stable, n_canary = self.rng.multinomial(total, np.array(shares) / sum(shares)).tolist()
        versions = {arm: getattr(self, arm.value)(phase, elapsed_s) for arm in ALL_ARMS}
        served: dict[Arm, Counts | None] = {
            Arm.STABLE: versions[Arm.STABLE].serve(n_stable, self.rng),
            Arm.CANARY: versions[Arm.CANARY].serve(n_canary, self.rng),
            Arm.SHADOW: versions[Arm.CANARY].serve(int(total * weights.mirror), self.rng),
        }
        if Arm.BASELINE in self.arms:
            served[Arm.BASELINE] = versions[Arm.BASELINE].serve(n_baseline, self.rng)
        live = served[Arm.CANARY]
        self.bad += live.failed + sum(live.latency[GRID.latency_ms.index(SLO.latency_p99_ms) + 1 :])
        return served

    @property
    def seconds(self) -> float:
        return self.state.now_s - self.state.started_s

    @property
    def sentence(self) -> str:
        return self.decisions[-1].sentence


def markets(runs: int, **settings) -> Iterator[Market]:
    """Independent markets with the seeds 0, 1, 2 and so on."""
    return (Market(seed=seed, **settings) for seed in range(runs))


LIVE_ONLY = replace(Policy(), shadow=False)
DEMO = replace(Policy(), shadow_s=5.0, ramp_interval_s=2.0, bake_s=15.0, guard_s=15.0, margin=0.01)
