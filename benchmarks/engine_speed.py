"""How many ticks the engine decides in a second of CPU time: one rollout at a time, and a thousand side by side.

Two arms, 100 requests a second, a good canary that is raised step by step and never promoted. The observations are made
beforehand. Run with `make bench-engine`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from time import process_time

from benchmarks.decisions.perch import ARMS, LIVE, champion, split_of

from perch.core import begin, decide
from perch.core.many import Many
from perch.core.types import Arm, Observation
from perch.rehearsal.market import SLO, Market, Served, Traffic

_ROUNDS = 5
_TICKS = 1000
_SIDE_BY_SIDE = 1000
_TICKS_SIDE_BY_SIDE = 100
_POLICY = replace(LIVE, bake_s=1e6)
_START = begin(_POLICY, SLO, champion(), ARMS, now_s=0.0)

Ticks = Sequence[Mapping[Arm, Served]]


def recorded(rollouts: int, ticks: int) -> Ticks:
    """What the arms serve under the engine's own weights."""
    many, market = Many([_START] * rollouts, _POLICY), Market(Traffic(100.0), rollouts, seed=0)
    served = []
    for _ in range(ticks):
        served.append(market.tick(split_of(many)))
        many.step(float(market.now_s), served[-1])
    return served


def plain(served: Ticks) -> Callable[[], None]:
    """One rollout, by `decide`."""
    observations = [
        Observation(t, float(t), {arm: counted.counts(0) for arm, counted in arms.items() if arm in ARMS})
        for t, arms in enumerate(served, start=1)
    ]

    def go() -> None:
        state = _START
        for observation in observations:
            state, _ = decide(state, observation, _POLICY)

    return go


def side_by_side(served: Ticks) -> Callable[[], None]:
    """Many rollouts, by `Many`."""

    def go() -> None:
        many = Many([_START] * _SIDE_BY_SIDE, _POLICY)
        for t, arms in enumerate(served, start=1):
            many.step(float(t), arms)

    return go


def ticks_per_s(go: Callable[[], None], ticks: int) -> float:
    """Median over several rounds."""
    rounds = []
    for _ in range(_ROUNDS):
        began_s = process_time()
        go()
        rounds.append(ticks / (process_time() - began_s))
    return median(rounds)


def main() -> None:
    """Measure and print."""
    one = ticks_per_s(plain(recorded(1, _TICKS)), _TICKS)
    print(f"decide                 {one:9,.0f} ticks/s")
    all_of_them = _SIDE_BY_SIDE * _TICKS_SIDE_BY_SIDE
    many = ticks_per_s(side_by_side(recorded(_SIDE_BY_SIDE, _TICKS_SIDE_BY_SIDE)), all_of_them)
    print(f"Many, {_SIDE_BY_SIDE:,} rollouts   {many:9,.0f} ticks/s")


if __name__ == "__main__":
    main()
