"""How much more one arm earns than another, as intervals that hold at every look together. Pure.

Between two arms the traffic is split at random, so what they earn may be compared; but not over all time at once:
shares change, and so do the hours, and who was served more in good hours would look better than it is. So all is
compared in strata, stretches of time in which the split stood still.

**Events** (clicks, sales). Given that one comes, from a request of a stratum in which the arm had answered the
share s, it is the arm's with the probability s rho / (s rho + 1 - s), where rho is what the arm earns for each request
over what the other one does; see `perch.core.clicks` for why that may be watched as events come. For each rho the
likelihood averaged over a prior of log-ratios, divided by the likelihood at rho, is a martingale under rho that starts
at 1. By Ville's inequality the ratios at which it stays below 1/error cover the true one at all times. (Robbins 1970,
https://doi.org/10.1214/aoms/1177696786.)

**Amounts** (revenue). The difference of the means, weighed by the requests of each stratum, with the asymptotic
confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (arXiv 2103.06476, theorem 2.2): like the central
limit theorem it asks for many amounts, and unlike that it holds at every look.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from typing import Final

import numpy as np

from perch.core.vector import Floats

_WIDEST: Final = log(1_000.0)
_SPREADS: Final = (0.1, 0.5, 2.0)
"""Standard deviations of the prior of log-ratios, each as likely: a lift of some percent is found as well as a ruin."""

_STEPS: Final = np.linspace(-4, 4, 81)
_GRID: Final = np.concatenate([spread * _STEPS for spread in _SPREADS])
_PRIOR: Final = np.tile(np.exp(-(_STEPS**2) / 2), len(_SPREADS)) / (len(_SPREADS) * np.exp(-(_STEPS**2) / 2).sum())
_PRECISION: Final = 1e-7

LEAST_SALES: Final = 50
"""Sales in each arm below which nothing is said of revenue: its interval leans on the central limit theorem."""

_TUNED_TO: Final = 10_000
"""Requests at which the interval of a difference is narrowest, for what it is wide."""


@dataclass(frozen=True, slots=True)
class Earned:
    """What an arm's requests of one stratum brought."""

    requests: int
    clicks: int = 0
    sales: int = 0
    """Requests that brought money."""

    revenue: float = 0.0
    revenue_squared: float = 0.0
    """Sum over the requests of the square of what each brought."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """A stretch of time in which the traffic was split at random between two arms."""

    arm: Earned
    other: Earned


@dataclass(frozen=True, slots=True)
class Lift:
    """What an arm earns more, with an interval that holds at every look."""

    estimate: float
    low: float
    high: float


def lift_of_events(split: Sequence[tuple[float, int, int]], error: float) -> Lift | None:
    """Ratio, less 1, of what an arm and another one earn for each request, in events that come at random.

    Args:
        split: Of each stratum the share of the requests that the arm answered (of those of both), its events, and the
            other one's. Strata that one arm answered alone tell nothing.
        error: Probability, 0 to 1, that the interval ever misses the truth.

    Returns:
        Lift of -1 or more; `None` before the first event. Without an event of the other arm the estimate is at the end
        of what is looked at, a thousand times as many.
    """
    told = np.array([one for one in split if 0 < one[0] < 1 and one[1] + one[2]], np.float64).reshape(-1, 3)
    if not len(told):
        return None
    best = _root(lambda ratio: _slope(told, ratio), -_WIDEST, _WIDEST)
    likelihoods = _log_likelihoods(told, _GRID)
    least = likelihoods.max() + log(np.exp(likelihoods - likelihoods.max()) @ _PRIOR) + log(error)

    def above_least(ratio: float) -> float:
        return float(_log_likelihoods(told, np.array([ratio]))[0] - least)

    low = _root(lambda ratio: -above_least(ratio), -_WIDEST, best)
    high = _root(above_least, best, _WIDEST)
    if not told[:, 1].any():
        return Lift(-1.0, -1.0, exp(high) - 1)
    return Lift(exp(best) - 1, exp(low) - 1, exp(high) - 1)


def lift_of_revenue(strata: Sequence[Stratum], error: float) -> Lift | None:
    """Difference of what a request of an arm and one of another one bring, in the market's currency.

    Args:
        strata: What both arms earned. Those that one arm answered alone tell nothing.
        error: Probability, 0 to 1, that the interval ever misses the truth.

    Returns:
        `None` while there are fewer than `LEAST_SALES` sales in either arm.
    """
    both = [one for one in strata if one.arm.requests and one.other.requests]
    arm, other = _columns([one.arm for one in both]), _columns([one.other for one in both])
    if not both or min(arm[1].sum(), other[1].sum()) < LEAST_SALES:
        return None
    requests = arm[0] + other[0]
    weights = requests / requests.sum()
    estimate = float(weights @ (arm[2] / arm[0] - other[2] / other[0]))
    variance = float(weights**2 @ (_variance(arm) / arm[0] + _variance(other) / other[0]))
    radius = sqrt(variance * _stretch(float(requests.sum()), error))
    return Lift(estimate, estimate - radius, estimate + radius)


def _log_likelihoods(told: Floats, log_ratios: Floats) -> Floats:
    """Of each log-ratio, up to what is the same for all; shape as `log_ratios`."""
    share, events, others = told.T[:, :, None]
    return np.asarray((events * log_ratios - (events + others) * np.log1p(share * np.expm1(log_ratios))).sum(axis=0))


def _slope(told: Floats, log_ratio: float) -> float:
    """Of the log likelihood; it falls from the events of the arm to minus those of the other one."""
    share, events, others = told.T
    odds = share * exp(log_ratio)
    return float((events - (events + others) * odds / (odds + 1 - share)).sum())


def _root(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that falls becomes negative; an end, where it does not."""
    if falling(low) <= 0:
        return low
    while high - low > _PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return high


def _columns(earned: Sequence[Earned]) -> Floats:
    """Requests, sales, revenue and its squares, shape (4, strata)."""
    told = [(one.requests, one.sales, one.revenue, one.revenue_squared) for one in earned]
    return np.array(told, np.float64).reshape(-1, 4).T


def _variance(earned: Floats) -> float:
    """Of what a request brings, over all strata: in one of them are too few to tell."""
    requests, _, revenue, squared = earned.sum(axis=1)
    return float(squared / requests - (revenue / requests) ** 2)


def _stretch(requests: float, error: float) -> float:
    """Variances that the interval's radius squared is, once it is to hold at every look."""
    tuned = (log(1 / error**2) + log(log(1 / error**2) + 1)) / _TUNED_TO
    return (requests * tuned + 1) / (requests * tuned) * log((requests * tuned + 1) / error**2)
