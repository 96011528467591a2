"""How likely a test ever errs while one looks after every event: not simulated, but summed over all paths.

A path stops at its first error. What remains is a distribution over counts, which the next event spreads.
"""

import numpy as np
import pytest

from perch.core import Policy, Slo, reference
from perch.core.bounds import lower_bound, upper_bound
from perch.core.events import FAILED, Tally, event_count
from perch.core.evidence import CLEARING, blaming, comparable, core_family
from perch.core.types import Counts, Grid

SLO = Slo(latency_p99_ms=10.0)
REFERENCE = reference(Counts.none(Grid((10.0,), (0.0,))), Grid((10.0,), (0.0,)), SLO, None)


def ever(events, probability, errs):
    """The probability that `errs(n)`, a mask over 0 to n hits, is met after any of `events` events."""
    alive, erred = np.array([1.0]), 0.0
    for n in range(1, events + 1):
        alive = np.convolve(alive, [1 - probability, probability])
        wrong = errs(n)
        erred += alive[wrong].sum()
        alive = np.where(wrong, 0.0, alive)
    assert erred + alive.sum() == pytest.approx(1)
    return erred


def evidence_of_failures(family, share):
    """E by numbers of failures in the canary and in the other arm, from the formula alone."""
    blames = np.flatnonzero(family.event[CLEARING:] == FAILED) + CLEARING
    null, alternative = family.null[blames] + 1, family.alternative[blames] + 1
    prior = family.prior[blames - CLEARING] / family.prior[blames - CLEARING].sum()

    def pi(ratio):
        return share * ratio / (share * ratio + 1 - share)

    log_a, log_b = np.log(pi(alternative) / pi(null)), np.log((1 - pi(alternative)) / (1 - pi(null)))

    def evidence(x, y):
        log_wealth = np.multiply.outer(x, log_a) + np.multiply.outer(y, log_b)
        return np.exp(np.minimum(log_wealth, 300.0)) @ prior

    return evidence


def failures(failed, requests):
    return Tally(requests, requests - failed, 0, (failed, *(0,) * (event_count(REFERENCE) - 1)))


def test_the_evidence_that_is_enumerated_is_the_engines():
    family = core_family(REFERENCE, Policy())
    evidence = evidence_of_failures(family, 20 / 100)
    start = family.start(1.0)
    for x, y in ((0, 0), (1, 0), (3, 4), (0, 9)):
        wealth = family.bet(start, comparable(failures(x, 20), failures(y, 80)))
        assert family.harm(wealth)[FAILED] / family.harm(start)[FAILED] == pytest.approx(evidence(x, y))
    assert blaming(start) == pytest.approx(1)


@pytest.mark.parametrize("alpha", [0.01, 0.1])
@pytest.mark.parametrize("tolerated", [1.0, 1.25, 2.0])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_a_canary_as_bad_as_tolerated_is_ever_convicted_with_a_probability_of_at_most_alpha(alpha, tolerated, share):
    """Over 1,500 failures, with a look after each; and the bound is not an empty one."""
    evidence = evidence_of_failures(core_family(REFERENCE, Policy(tolerated_ratio=tolerated)), share)
    of_canary = share * tolerated / (share * tolerated + 1 - share)

    def convicts(n):
        x = np.arange(n + 1)
        return evidence(x, n - x) >= 1 / alpha

    assert 0.3 * alpha < ever(1_500, of_canary, convicts) <= alpha


@pytest.mark.parametrize("error", [0.05, 0.2])
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_a_bound_on_a_rate_is_ever_wrong_with_a_probability_of_at_most_its_error(rate, error):
    """Over 150 requests, with a look after each."""
    too_low = ever(150, rate, lambda n: np.array([upper_bound(hits, n, error) < rate for hits in range(n + 1)]))
    too_high = ever(150, rate, lambda n: np.array([lower_bound(hits, n, error) > rate for hits in range(n + 1)]))
    assert too_low + too_high <= error
    assert too_high > 0


def test_the_enumeration_itself_counts_what_it_should():
    """By hand: a hit at once, and one hit of two."""
    assert ever(1, 0.3, lambda n: np.arange(n + 1) == n) == pytest.approx(0.3)
    assert ever(3, 0.3, lambda n: np.arange(n + 1) == n) == pytest.approx(0.3)
    assert ever(2, 0.5, lambda n: (np.arange(n + 1) == 1) & (n == 2)) == pytest.approx(0.5)
