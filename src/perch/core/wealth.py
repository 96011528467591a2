"""Wealth of a few bets that start equal, kept as logarithms: a long good record must not round to nothing."""

from collections.abc import Iterable
from math import exp
from statistics import fmean

_LARGEST_LOG = 600.0  # keeps e-values finite, and so their JSON


def mean_wealth(log_wealth: Iterable[float]) -> float:
    """The e-value of bets that began with 1 each: their mean, an e-value whatever their dependence."""
    return fmean(map(exp, log_wealth))


def grown(log_wealth: Iterable[float], increments: Iterable[float]) -> tuple[float, ...]:
    """Log wealth after a tick. What is cut from above stays a supermartingale."""
    return tuple(min(old + gain, _LARGEST_LOG) for old, gain in zip(log_wealth, increments, strict=True))
