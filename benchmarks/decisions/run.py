"""Puts engines through scenarios, and says how each did."""

from dataclasses import dataclass
from zlib import crc32

import numpy as np
from benchmarks.decisions.rollouts import End, Engine
from benchmarks.decisions.scenarios import Scenario, key

from perch.core.types import Arm
from perch.rehearsal.market import Floats, Ints, Market, Mask


@dataclass(frozen=True, slots=True)
class Result:
    """How an engine did in a scenario, over its replications."""

    engine: str
    scenario: str
    rps: float
    replications: int
    seed: int

    rolled_back: float
    """Share of the replications, 0 to 1; the four shares add up to 1."""

    promoted: float
    aborted: float
    held: float

    median_s: float | None
    """Median seconds until the right end, over those that came to it: a bad canary goes home, a good one is promoted.
    Where none came to it, until the wrong one."""

    bad_mean: float
    """Bad responses of the live canary until the end, lost requests among them, over all replications."""

    bad_p95: float

    @property
    def key(self) -> str:
        """The key of the scenario."""
        return key(self.scenario, self.rps)

    @property
    def gone_home(self) -> float:
        """Share of the replications in which the canary lost its traffic, for whatever reason."""
        return self.rolled_back + self.aborted


def run(name: str, engine: Engine, scenario: Scenario, replications: int) -> Result:
    """Put `engine` through `scenario`; all engines meet the same seed there."""
    seed = crc32(scenario.key.encode())
    market = Market(scenario.traffic, replications, seed)
    rollouts = engine(scenario, replications)
    bad: Ints = np.zeros(replications, dtype=np.int64)
    while market.now_s < scenario.duration_s and (rollouts.ends == End.HELD).any():
        served = market.tick(rollouts.split.only(rollouts.ends == End.HELD))
        bad += served[Arm.CANARY].bad
        rollouts.step(market.now_s, served)
    home, promoted = np.isin(rollouts.ends, (End.ROLLED_BACK, End.ABORTED)), rollouts.ends == End.PROMOTED
    right, wrong = (home, promoted) if scenario.harmful else (promoted, home)
    return Result(
        engine=name,
        scenario=scenario.name,
        rps=scenario.traffic.rps,
        replications=replications,
        seed=seed,
        rolled_back=share(rollouts.ends == End.ROLLED_BACK),
        promoted=share(promoted),
        aborted=share(rollouts.ends == End.ABORTED),
        held=share(rollouts.ends == End.HELD),
        median_s=median(rollouts.ended_s[right if right.any() else wrong]),
        bad_mean=float(bad.mean()),
        bad_p95=float(np.quantile(bad, 0.95, method="higher")),
    )


def share(which: Mask) -> float:
    """Share of the replications, 0 to 1."""
    return float(which.mean())


def median(times_s: Floats) -> float | None:
    """The median; nothing of nothing."""
    return float(np.median(times_s)) if times_s.size else None
