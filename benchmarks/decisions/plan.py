"""How much is measured: everything, or what fits into two minutes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from benchmarks.decisions import guarded, labels, pods
from benchmarks.decisions.engines import ENGINES
from benchmarks.decisions.run import Result, run
from benchmarks.decisions.scenarios import Scenario, after_promotion, scenarios


@dataclass(frozen=True, slots=True)
class Plan:
    """Which scenarios, how often and how long."""

    harmful: int
    """Rollouts of each engine in each scenario in which the canary harms."""

    harmless: int
    """The same, where it does not: more, for a share of 1 % is asked for."""

    alone: int
    """Rollouts of S3 and S8, which run one at a time."""

    longest_s: int
    """Simulated time after which a rollout that has not ended is held."""

    longest_guard_s: int
    """Scenarios after promotion that take longer are left out."""

    fastest_rps: float
    slowest_rps: float
    """Scenarios outside these rates are left out; the one without traffic is not."""

    def scenarios(self) -> Mapping[str, Scenario]:
        """The scenarios that all engines are put through, by their keys."""
        return {
            scenario.key: replace(scenario, duration_s=min(scenario.duration_s, self.longest_s))
            for scenario in scenarios()
            if self.slowest_rps <= scenario.traffic.rps <= self.fastest_rps or scenario.traffic.rps == 0
        }

    def after_promotion(self) -> Mapping[str, Scenario]:
        """Those of the guard, by their keys: whole, or not at all."""
        return {scenario.key: scenario for scenario in after_promotion() if scenario.duration_s <= self.longest_guard_s}

    def replications(self, scenario: Scenario) -> int:
        """Rollouts of an engine in a scenario."""
        return self.harmful if scenario.harmful else self.harmless

    def one_by_one(self) -> Mapping[str, Callable[[int], Result]]:
        """Labels and pods, which no array of counts holds, by their names."""
        late = {case.name: partial(labels.run, case) for case in labels.cases()}
        return {**late, **{case.name: partial(pods.run, case) for case in pods.cases()}}


FULL = Plan(
    harmful=400,
    harmless=1000,
    alone=80,
    longest_s=3600,
    longest_guard_s=21_600,
    fastest_rps=1000.0,
    slowest_rps=1.0,
)
QUICK = Plan(
    harmful=100,
    harmless=100,
    alone=4,
    longest_s=1500,
    longest_guard_s=900,
    fastest_rps=100.0,
    slowest_rps=100.0,
)


def measure(job: tuple[Plan, str, str]) -> Result:
    """Run one engine in one scenario: `(plan, engine, key of the scenario)`, all of which go to another process."""
    plan, engine, key = job
    if key in plan.one_by_one():
        return plan.one_by_one()[key](plan.alone)
    if key in plan.after_promotion():
        promoted = plan.after_promotion()[key]
        return guarded.run(engine, promoted, plan.replications(promoted))
    scenario = plan.scenarios()[key]
    return run(engine, ENGINES[engine], scenario, plan.replications(scenario))
