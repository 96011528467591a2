"""What no rule can do better, and what our rule pays beyond that, in bad responses: from formulas, not from runs.

Wald's floor: a sequential test that is wrong with a probability of at most alpha, and knows both rates, needs
ln(1/alpha) nats, of which a request of the canary brings KL(faulty, good) on average. (Wald, Sequential Analysis,
1947.)
"""

from functools import cache
from itertools import count
from math import log

from benchmarks.decisions.perch import LIVE, Perch, champion
from benchmarks.decisions.rollouts import End
from benchmarks.decisions.scenarios import Scenario

from perch.core.events import FAILED
from perch.core.evidence import CLEARING, full_family
from perch.core.sentences import percent
from perch.core.types import Arm
from perch.core.weighing import START_MASS
from perch.rehearsal.market import GOOD, Behaviour, Market, Traffic, always

_NEEDED = log(1 / LIVE.alpha)
_REPLICATIONS = 200


def wald_floor(error_rate: float) -> float:
    """Least mean number of failed responses until a canary with this error rate is found beside a good one."""
    return _NEEDED * error_rate / divergence(error_rate, GOOD.error_rate)


def divergence(p: float, q: float) -> float:
    """Kullback-Leibler divergence of two Bernoulli distributions, KL(p, q), in nats; p and q above 0, below 1."""
    return p * log(p / q) + (1 - p) * log((1 - p) / (1 - q))


def canary_part(share: float, ratio: float) -> float:
    """Part of all failures that are the canary's if it has `share` of the requests and fails `ratio` times as often."""
    return share * ratio / (share * ratio + 1 - share)


def most_odds(failures: int) -> float:
    """Most evidence that so many failures of the canary's bring our bets, which do not know the harm before.

    It is what they bring if all of the mixture is at work and the champion fails never, as the canary's share goes to
    0: a bet on the ratio rho gains ln(rho / rho0) of a failure there, and less at any larger share, be it configured or
    observed in a batch. Bets on other events stay as they are.
    """
    parts = _bets_on_failures()
    return 1 + sum(part * ((ratio / LIVE.tolerated_ratio) ** failures - 1) for ratio, part in parts.items())


def least_failures() -> int:
    """Failures without which our bets convict nobody who does nothing but fail, at whatever share of the traffic."""
    return next(failures for failures in count(1) if most_odds(failures) >= 1 / LIVE.alpha)


def nats_per_failure(share: float, ratio: float) -> float:
    """What a failure of the canary's brings on average, with the failures of the champion that come meanwhile, to the
    best bet that knows the ratio.
    """
    part = canary_part(share, ratio)
    return divergence(part, canary_part(share, LIVE.tolerated_ratio)) / part


def largest_jump(share: float, ratio: float) -> float:
    """What a single failure of the canary's adds to that bet, in nats: by so much it may overshoot."""
    return log(canary_part(share, ratio) / canary_part(share, LIVE.tolerated_ratio))


def nats_of_ignorance(ratio: float) -> float:
    """What it costs at most, in nats, that event, ratio and beginning of the harm are not known before: ln of the part
    of the evidence that bets on failures at the nearest ratio from the start.
    """
    parts = _bets_on_failures()
    return -log(START_MASS * parts[min(parts, key=lambda alternative: abs(log(alternative / ratio)))])


def _bets_on_failures() -> dict[float, float]:
    """The part of the mixture that bets on failures, by their ratio."""
    family = full_family(champion(), LIVE)
    tests = range(CLEARING, len(family.event))
    return {family.alternative[k] + 1: family.prior[k - CLEARING] for k in tests if family.event[k] == FAILED}


@cache
def share_when_bad(error_rate: float, rps: float) -> float:
    """Mean share of the traffic with which our engine's canary served its bad responses, in simulated rollouts."""
    scenario = Scenario("S1", Traffic(rps, canary=always(Behaviour(error_rate=error_rate))), harmful=True)
    market, rollouts = Market(scenario.traffic, _REPLICATIONS, seed=0), Perch(scenario, _REPLICATIONS, LIVE)
    bad, weighted = 0, 0.0
    while market.now_s < scenario.duration_s and (rollouts.ends == End.HELD).any():
        split = rollouts.split.only(rollouts.ends == End.HELD)
        served = market.tick(split)
        bad += int(served[Arm.CANARY].bad.sum())
        weighted += float(served[Arm.CANARY].bad @ split.canary)
        rollouts.step(market.now_s, served)
    return weighted / bad


def why_above_floor(error_rate: float, rps: float, most: float) -> str:
    """Why our engine's mean number of bad responses is above `most`: the bound that forbids less, or what they are."""
    ratio = error_rate / GOOD.error_rate
    if (least := least_failures()) > most:
        return (
            "forbidden to bets that are spread over events and sizes of harm, which nobody knows before: fewer than"
            f" {least} failures bring our bets at most {most_odds(least - 1):.0f} to 1 of the {1 / LIVE.alpha:.0f} to 1"
            " needed, however small the canary's share of the traffic"
        )
    share = share_when_bad(error_rate, rps)
    nats, unknown = nats_per_failure(share, ratio), nats_of_ignorance(ratio)
    return (
        f"no bound known. The canary has {percent(share)} of the traffic where it fails, which the ramp needs for good"
        f" canaries; a failure there adds {nats:.2f} nats on average. The {_NEEDED:.2f} of alpha take"
        f" {_NEEDED / nats:.1f} failures; not to know event, size and beginning of the harm costs up to {unknown:.2f}"
        f" nats, or {unknown / nats:.1f} more; the last one overshoots by up to {largest_jump(share, ratio):.2f} nats"
    )
