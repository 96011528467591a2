"""Bounds on a rate that hold at every look together, so that a rollout may be watched each second.

The beta-binomial mixture of Robbins: under the true rate p, the likelihood averaged over a Beta(1/2, 1/2) prior,
divided by the likelihood at p, is a martingale that starts at 1. By Ville's inequality it ever reaches 1/error with a
probability of at most `error`, so the rates at which it stays below form an interval that covers p at all times.
(Robbins 1970, https://doi.org/10.1214/aoms/1177696786; Howard and others, arXiv 1810.08240.)

Assumed: each request is bad with the same probability, or the bound is read as one on the average so far.
"""

from math import exp, lgamma, log, log1p, pi

import numpy as np

from perch.core.vector import Floats

_PRECISION = 1e-12
_STEPS = 60  # of many at once: more than any needs
_ALMOST_ONE = 1.0 - 1e-12


def upper_bound(hits: float, trials: int, error: float) -> float:
    """Rate (0 to 1) that the true one exceeds at no time, except with probability `error`; 1 before any trial.

    The root of f(p) = ln(error x martingale at p) above hits/trials. There f is convex, and -hits ln p >= 0 gives a
    point to the right of the root, from which Newton's steps come down to it without passing it.
    """
    misses = trials - hits
    if misses <= 0:
        return 1.0
    mixture = lgamma(hits + 0.5) + lgamma(misses + 0.5) - lgamma(trials + 1.0) - log(pi) + log(error)
    rate, step = 1.0 - exp(mixture / misses), 1.0
    while step > _PRECISION and rate < 1.0:
        step = (mixture - hits * log(rate) - misses * log1p(-rate)) / (misses / (1.0 - rate) - hits / rate)
        rate -= step
    return rate


def lower_bound(hits: float, trials: int, error: float) -> float:
    """Rate (0 to 1) that the true one undercuts at no time, except with probability `error`; 0 before any trial."""
    return 1.0 - upper_bound(trials - hits, trials, error)


def upper_bounds(hits: Floats, trials: Floats, error: float) -> Floats:
    """`upper_bound` of many at once, shape (n,)."""
    usable = trials > hits
    hits, trials = np.where(usable, hits, 0.0), np.where(usable, trials, 1.0)
    misses = trials - hits
    log_gamma = np.vectorize(lgamma, otypes=[np.float64])
    mixture = log_gamma(hits + 0.5) + log_gamma(misses + 0.5) - log_gamma(trials + 1.0) - log(pi) + log(error)
    rate = -np.expm1(mixture / misses)
    for _ in range(_STEPS):
        inner = np.minimum(rate, _ALMOST_ONE)
        step = (mixture - hits * np.log(inner) - misses * np.log1p(-inner)) / (misses / (1.0 - inner) - hits / inner)
        rate = inner - step
    return np.where(usable, rate, 1.0)
