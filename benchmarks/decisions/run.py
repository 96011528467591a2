"""Puts engines through scenarios, and says how each did."""

from dataclasses import dataclass
from zlib import crc32

import numpy as np
from benchmarks.decisions.rollouts import End, Engine
from benchmarks.decisions.scenarios import Scenario

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
    """Median seconds until the canary went home, over those where it did; where none did, until the promotion."""

    bad_mean: float
    """Bad responses of the live canary until the end, over all replications."""

    bad_p95: float


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
    home = np.isin(rollouts.ends, (End.ROLLED_BACK, End.ABORTED))
    return Result(
        engine=name,
        scenario=scenario.name,
        rps=scenario.traffic.rps,
        replications=replications,
        seed=seed,
        rolled_back=_share(rollouts.ends == End.ROLLED_BACK),
        promoted=_share(rollouts.ends == End.PROMOTED),
        aborted=_share(rollouts.ends == End.ABORTED),
        held=_share(rollouts.ends == End.HELD),
        median_s=_median(rollouts.ended_s[home if home.any() else rollouts.ends == End.PROMOTED]),
        bad_mean=float(bad.mean()),
        bad_p95=float(np.quantile(bad, 0.95, method="higher")),
    )


def _share(which: Mask) -> float:
    return float(which.mean())


def _median(times_s: Floats) -> float | None:
    return float(np.median(times_s)) if times_s.size else None
