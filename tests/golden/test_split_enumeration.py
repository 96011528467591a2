"""The split test by exact enumeration: its formula once more, in fractions, beside the increments that decide.

Written from the formulas alone: with s the canary's share, pi(r) = s r / (s r + 1 - s) and x of m events in the canary,
the increment is x ln(pi(r1) / pi(r0)) + (m - x) ln((1 - pi(r1)) / (1 - pi(r0))).
"""

from fractions import Fraction
from itertools import product
from math import comb, exp, log

import numpy as np
import pytest

from perch.core import Policy, Slo, reference
from perch.core.events import FAILED, Tally, event_count
from perch.core.evidence import blaming, comparable, core_family, full_family
from perch.core.types import Counts, Grid

SLO = Slo(latency_p99_ms=10.0)
GRID = Grid(latency_ms=(1.0, 10.0), score_logit=(0.0,))
STABLE = Counts(10_000, 0, (9_000, 900, 100), (5_000, 5_000))
REFERENCE = reference(STABLE, GRID, SLO, ((5_000, 5_000), (5_000, 5_000)))
SHARES = [(2, 18), (6, 10), (8, 8), (14, 2)]
"""Requests of the canary and of the stable arm."""

TOLERATED = [1.0, 1.25, 2.0, 4.0]


def failures(failed, requests):
    hits = (failed, *(0,) * (event_count(REFERENCE) - 1))
    return Tally(requests, requests - failed, 0, hits)


def rows(family):
    """Position, null and alternative of each test on failures, with the ratios as fractions."""
    for i in np.flatnonzero(family.event == FAILED):
        yield (
            int(i),
            *(Fraction(float(ratio[i]) + 1).limit_denominator(10_000) for ratio in (family.null, family.alternative)),
        )


def pi(share, ratio):
    return share * ratio / (share * ratio + 1 - share)


def likelihood_ratio(x, m, share, null, alternative):
    """Of x of m events falling on the canary, exactly."""
    a = pi(share, alternative) / pi(share, null)
    b = (1 - pi(share, alternative)) / (1 - pi(share, null))
    return a**x * b ** (m - x)


def binomial(x, n, p):
    return comb(n, x) * p**x * (1 - p) ** (n - x)


@pytest.mark.parametrize("tolerated", TOLERATED)
@pytest.mark.parametrize(("n_canary", "n_stable"), SHARES)
def test_every_increment_is_the_exact_likelihood_ratio(tolerated, n_canary, n_stable):
    family, share = core_family(REFERENCE, Policy(tolerated_ratio=tolerated)), Fraction(n_canary, n_canary + n_stable)
    for x, y in product(range(n_canary + 1), range(n_stable + 1)):
        increments = family.increments(comparable(failures(x, n_canary), failures(y, n_stable)))
        for i, null, alternative in rows(family):
            assert increments[i] == pytest.approx(log(likelihood_ratio(x, x + y, share, null, alternative)), abs=1e-10)


@pytest.mark.parametrize("tolerated", TOLERATED)
@pytest.mark.parametrize(("n_canary", "n_stable"), SHARES)
def test_the_expectation_is_one_where_events_fall_by_the_null_and_below_one_inside_it(tolerated, n_canary, n_stable):
    family, share = core_family(REFERENCE, Policy(tolerated_ratio=tolerated)), Fraction(n_canary, n_canary + n_stable)
    m = min(n_canary, n_stable)
    gains = [
        np.exp(family.increments(comparable(failures(x, n_canary), failures(m - x, n_stable)))) for x in range(m + 1)
    ]
    for i, null, alternative in rows(family):
        inside = null / 2 if alternative > null else 2 * null
        for ratio in (null, inside):
            law = [binomial(x, m, pi(share, ratio)) for x in range(m + 1)]
            exact = sum(
                p * likelihood_ratio(x, m, share, null, alternative) for x, p in zip(range(m + 1), law, strict=True)
            )
            computed = sum(float(p) * gain[i] for p, gain in zip(law, gains, strict=True))
            assert computed == pytest.approx(float(exact), rel=1e-10)
            assert exact == 1 if null in (ratio, alternative) else exact < 1


@pytest.mark.parametrize("tolerated", TOLERATED)
@pytest.mark.parametrize(("n_canary", "n_stable"), SHARES)
def test_no_pair_of_rates_under_the_null_gains_in_expectation(tolerated, n_canary, n_stable):
    """Independent requests: every outcome of both arms."""
    family = core_family(REFERENCE, Policy(tolerated_ratio=tolerated))
    outcomes = list(product(range(n_canary + 1), range(n_stable + 1)))
    gains = [np.exp(family.increments(comparable(failures(x, n_canary), failures(y, n_stable)))) for x, y in outcomes]
    for i, null, alternative in rows(family):
        for stable_rate, nearness in product((0.01, 0.2, 0.9), (1.0, 0.3)):
            ratio = float(null) * nearness if alternative > null else float(null) / nearness
            if ratio * stable_rate > 1:
                continue
            law = [binomial(x, n_canary, ratio * stable_rate) * binomial(y, n_stable, stable_rate) for x, y in outcomes]
            assert sum(law) == pytest.approx(1)
            assert sum(p * gain[i] for p, gain in zip(law, gains, strict=True)) <= 1 + 1e-12


@pytest.mark.parametrize(("n_canary", "n_stable"), [(1, 9), (3, 5), (6, 6), (9, 2)])
def test_the_same_requests_split_at_random_gain_nothing_in_expectation(n_canary, n_stable):
    """Hypergeometric: m of the requests fail wherever they go, and each row that blames gains at most 1."""
    family, n = core_family(REFERENCE, Policy(tolerated_ratio=1.0)), n_canary + n_stable
    for m in range(n + 1):
        outcomes = range(max(0, m - n_stable), min(m, n_canary) + 1)
        law = {x: Fraction(comb(n_canary, x) * comb(n_stable, m - x), comb(n, m)) for x in outcomes}
        assert sum(law.values()) == 1
        gains = {x: family.increments(comparable(failures(x, n_canary), failures(m - x, n_stable))) for x in outcomes}
        for i, null, alternative in rows(family):
            if alternative > null:
                assert sum(float(p) * exp(gains[x][i]) for x, p in law.items()) <= 1 + 1e-12


def test_swapping_the_arms_and_inverting_the_ratios_changes_nothing():
    """Each score bin is tested upwards and downwards by the same ratios."""
    family = full_family(REFERENCE, Policy())
    hits = np.arange(event_count(REFERENCE))
    one, two = (Tally(40, 40, 40, tuple((hits * k % 7).tolist())) for k in (3, 5))
    forth, back = family.increments(comparable(one, two)), family.increments(comparable(two, one))
    tests = [(int(family.event[i]), family.null[i] + 1, family.alternative[i] + 1) for i in range(family.event.size)]
    pairs = [
        (i, j)
        for (i, (event, null, alternative)), (j, (other_event, other_null, other)) in product(
            enumerate(tests), enumerate(tests)
        )
        if event == other_event and null * other_null == pytest.approx(1) and alternative * other == pytest.approx(1)
    ]
    assert len(pairs) >= 2 * len(REFERENCE.expected)
    for i, j in pairs:
        assert forth[i] == pytest.approx(back[j], abs=1e-12)


@pytest.mark.parametrize(("n_canary", "n_stable"), SHARES)
def test_one_more_failure_in_the_canary_never_lowers_the_evidence(n_canary, n_stable):
    family = core_family(REFERENCE, Policy())
    for y in range(n_stable + 1):
        evidence = [
            blaming(family.bet(family.start(1.0), comparable(failures(x, n_canary), failures(y, n_stable))))
            for x in range(n_canary + 1)
        ]
        assert evidence == sorted(evidence)
        assert evidence[0] <= 1 + 1e-12
