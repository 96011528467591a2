"""Bounds on a rate that hold at every look together, so that a rollout may be watched each second.

The beta-binomial mixture of Robbins: under the true rate p, the likelihood averaged over a Beta(1/2, 1/2) prior,
divided by the likelihood at p, is a martingale that starts at 1. By Ville's inequality it ever reaches 1/error with a
probability of at most `error`, so the rates at which it stays below form an interval that covers p at all times.
(Robbins 1970, https://doi.org/10.1214/aoms/1177696786; Howard and others, arXiv 1810.08240.)

Assumed: each request is bad with the same probability, or the bound is read as one on the average so far.
"""

from math import lgamma, log, log1p, pi

from scipy.optimize import brentq


def upper_bound(hits: int, trials: int, error: float) -> float:
    """Rate (0 to 1) that the true one exceeds at no time, except with probability `error`; 1 before any trial."""
    if hits >= trials:
        return 1.0
    mixture = _log_beta(hits + 0.5, trials - hits + 0.5) - log(pi) + log(error)

    def excess(rate: float) -> float:
        return mixture - (hits * log(rate) if hits else 0.0) - (trials - hits) * log1p(-rate)

    return float(brentq(excess, hits / trials, 1.0 - 1e-15, xtol=1e-12))


def lower_bound(hits: int, trials: int, error: float) -> float:
    """Rate (0 to 1) that the true one undercuts at no time, except with probability `error`; 0 before any trial."""
    return 1.0 - upper_bound(trials - hits, trials, error)


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)
