from dataclasses import replace
from itertools import product
from math import comb

import numpy as np
import pytest

from perch.core import Policy, Slo, reference
from perch.core.events import FAILED, Tally, event_count, tally
from perch.core.evidence import CLEARING, blaming, cleared, comparable, core_family, full_family
from perch.core.types import Counts, Grid

SLO = Slo(latency_p99_ms=10.0)
GRID = Grid(latency_ms=(1.0, 5.0, 10.0, 20.0), score_logit=(-2.0, 0.0, 2.0))
STABLE = Counts(1_000, 0, (500, 300, 190, 10, 0), (250, 250, 250, 250))
REFERENCE = reference(STABLE, GRID, SLO, ((2_500,) * 4, (2_000, 2_000, 5_000, 1_000)))
FULL = full_family(REFERENCE, Policy())
CORE = core_family(REFERENCE, Policy())
EVENTS = event_count(REFERENCE)
FIRST_SCORE = 1 + len(REFERENCE.latency_edges)


def counted(n, hits=None):
    """`n` answered requests of an arm; `hits` by event."""
    return Tally(n, n, n, tuple((hits or {}).get(event, 0) for event in range(EVENTS)))


def gains(canary, stable, family=FULL):
    """exp(l) of each test."""
    return np.exp(family.increments(comparable(canary, stable))[: family.event.size])


def test_the_tests_of_failures_gain_what_the_formula_says():
    share = 20 / (20 + 80)
    for i in np.flatnonzero(CORE.event == FAILED):
        null, alternative = (share * r / (share * r + 1 - share) for r in (CORE.null[i] + 1, CORE.alternative[i] + 1))
        expected = (alternative / null) ** 3 * ((1 - alternative) / (1 - null)) ** 4
        assert gains(counted(20, {FAILED: 3}), counted(80, {FAILED: 4}), CORE)[i] == pytest.approx(expected)


@pytest.mark.parametrize("event", range(FIRST_SCORE, EVENTS))
@pytest.mark.parametrize(("n_canary", "n_stable"), [(1, 6), (5, 5), (6, 2)])
def test_no_pair_of_score_rates_under_the_null_gains_in_expectation(event, n_canary, n_stable):
    """Exact: every outcome of both arms, around the ratio that the evaluations predict for this bin."""
    outcomes = list(product(range(n_canary + 1), range(n_stable + 1)))
    rows = np.flatnonzero(FULL.event == event)
    gained = [gains(counted(n_canary, {event: x}), counted(n_stable, {event: y}))[rows] for x, y in outcomes]
    null = FULL.null[rows] + 1
    inwards = np.where(FULL.alternative[rows] > FULL.null[rows], 0.5, 2.0)
    for stable_rate, nearness in product((0.01, 0.2, 0.45), (1.0, inwards)):
        rates = null * nearness * stable_rate
        law = np.array(
            [_binomial(x, n_canary, np.minimum(rates, 1)) * _binomial(y, n_stable, stable_rate) for x, y in outcomes]
        )
        mean = (law * gained).sum(axis=0)[rates <= 1]
        assert (mean <= 1 + 1e-12).all()


def test_requests_mirrored_to_both_arms_gain_nothing_in_expectation():
    """Exact: each of 4 requests is answered by both arms; a hard one fails with 0.8 in each, an easy one with 0.05."""
    blamed = CORE.alternative > CORE.null
    mean = np.zeros(blamed.sum())
    for hard in product((0.8, 0.05), repeat=4):
        for xs, ys in product(product((0, 1), repeat=4), repeat=2):
            chance = np.prod([(p if x else 1 - p) * (p if y else 1 - p) for p, x, y in zip(hard, xs, ys, strict=True)])
            mean += 0.5**4 * chance * gains(counted(4, {FAILED: sum(xs)}), counted(4, {FAILED: sum(ys)}), CORE)[blamed]
    assert (mean <= 1 + 1e-12).all()


def one_score_in_bin(bin_, bins):
    """What an arm counted that gave one score, in this bin."""
    return Tally(1, 1, 1, tuple(int(event == EVENTS - bins + bin_) for event in range(EVENTS)))


def test_bets_on_one_bin_for_all_scores_gain_nothing_from_versions_that_score_as_predicted():
    """Exact: one request in each arm, whose score falls into one bin: the tests of the bins do not move alone."""
    bins = len(REFERENCE.expected)
    stable = np.full(bins, 1 / bins)
    canary = stable * REFERENCE.expected
    assert canary.sum() == pytest.approx(1)
    mean = np.zeros(bins)
    for (i, p), (j, q) in product(enumerate(canary), enumerate(stable)):
        counts = comparable(one_score_in_bin(i, bins), one_score_in_bin(j, bins))
        mean += p * q * np.exp(FULL.increments(counts)[FULL.event.size :])
    assert (mean <= 1 + 1e-12).all()


def test_a_bet_on_one_bin_gains_from_that_bin_and_loses_from_each_other():
    bins = len(REFERENCE.expected)
    even = Tally(100, 100, 100, tuple(25 * (event >= FIRST_SCORE) for event in range(EVENTS)))
    for bin_ in range(bins):
        constant = Tally(100, 100, 100, tuple(100 * (event == FIRST_SCORE + bin_) for event in range(EVENTS)))
        bets = FULL.increments(comparable(constant, even))[FULL.event.size :]
        assert bets.argmax() == bin_
        assert bets[bin_] > 0
        assert (np.delete(bets, bin_) < 0).all()


@pytest.mark.parametrize("family", [FULL, CORE])
def test_the_mixture_starts_at_one_and_more_mass_is_worth_what_is_put_in(family):
    assert family.prior.sum() == pytest.approx(1)
    assert cleared(family.start(0.5)) == pytest.approx((1, 1))
    assert blaming(family.start(0.5)) == pytest.approx(0.5)
    assert blaming(family.more(family.start(0.5), 0.1)) == pytest.approx(0.6)
    assert cleared(family.more(family.start(0.5), 0.1)) == pytest.approx((1, 1))


def test_errors_latency_and_scores_weigh_65_20_and_15_percent():
    by_event = FULL.harm(FULL.start(1.0))
    assert by_event[FAILED] == pytest.approx(0.65)
    assert by_event[1:FIRST_SCORE].sum() == pytest.approx(0.2)
    assert by_event[FIRST_SCORE:].sum() == pytest.approx(0.15)
    assert by_event.size == EVENTS


def test_weights_of_missing_groups_go_to_the_others():
    bare = reference(Counts.none(GRID), GRID, SLO, None)
    family = full_family(bare, Policy())
    assert set(family.event.tolist()) == {FAILED, bare.slo_event}
    assert family.harm(family.start(1.0)).tolist() == pytest.approx([0.65 / 0.85, 0.2 / 0.85])


def test_an_alternative_must_exceed_what_is_tolerated():
    family = core_family(REFERENCE, replace(Policy(), tolerated_ratio=3.0))
    harm = slice(CLEARING, None)
    assert (family.alternative[harm] > family.null[harm]).all()
    nothing_above = core_family(REFERENCE, replace(Policy(), tolerated_ratio=100.0))
    assert set(nothing_above.alternative[harm] + 1) == {300.0}


def test_an_event_that_half_of_the_requests_show_is_not_bet_to_become_ten_times_as_frequent():
    for event, share in enumerate(REFERENCE.latency_shares, start=1):
        largest = (FULL.alternative[CLEARING:] + 1)[FULL.event[CLEARING:] == event].max()
        assert largest * share <= 1 or largest == 2 * Policy().tolerated_ratio


def test_scores_are_tested_both_ways_around_what_the_evaluation_predicts():
    rows = FULL.event == FIRST_SCORE + 2
    predicted, tolerated = REFERENCE.expected[2], Policy().tolerated_score_ratio
    null, alternative = FULL.null[rows] + 1, FULL.alternative[rows] + 1
    assert set(np.round(null / predicted, 9)) == {round(tolerated, 9), round(1 / tolerated, 9)}
    upward = null > predicted
    assert (alternative > null)[upward].all()
    assert (alternative < null)[~upward].all()


def test_a_tick_full_of_slow_answers_convicts_nobody_but_failures_do():
    all_bad = counted(100, dict.fromkeys(range(FIRST_SCORE), 90))
    by_row = FULL.increments(comparable(all_bad, counted(100)))[: FULL.event.size]
    latency = (FULL.event >= 1) & (FULL.event < FIRST_SCORE)
    assert by_row[latency].max() == 2.0
    assert by_row[FULL.event == FAILED].max() > 20


@pytest.mark.parametrize("family", [FULL, CORE])
def test_an_arm_without_exposure_changes_nothing(family):
    start, other = family.start(1.0), counted(50, dict.fromkeys(range(EVENTS), 5))
    assert family.bet(start, comparable(counted(0), other)) == pytest.approx(start, rel=1e-12)
    assert family.bet(start, comparable(other, counted(0))) == pytest.approx(start, rel=1e-12)


def after_ticks(canary, stable, ticks=10):
    wealth = CORE.start(1.0)
    for _ in range(ticks):
        wealth = CORE.bet(wealth, comparable(canary, stable))
    return cleared(wealth)


def test_clearing_gains_from_an_equal_arm_and_loses_from_a_bad_one():
    equal, bad = (counted(100, dict.fromkeys(range(EVENTS), hits)) for hits in (2, 10))
    assert min(after_ticks(equal, equal)) > 20
    assert max(after_ticks(bad, equal)) < 0.01


def test_failures_do_not_speak_for_slowness_when_an_arm_is_cleared():
    slow, fast = (counted(100, {FAILED: 2, REFERENCE.slo_event: hits}) for hits in (10, 2))
    failures, slowness = after_ticks(slow, fast)
    assert failures > 20
    assert slowness < 0.01


def test_a_failed_request_is_not_also_slow_and_has_no_score():
    tallied = tally(Counts(requests=12, failed=2, latency=(4, 3, 2, 1, 0), scores=(1, 2, 3, 4)), REFERENCE)
    assert (tallied.failed, tallied.finished) == (2, 12)
    assert (tallied.hits[REFERENCE.slo_event], tallied.answered) == (1, 10)
    assert (tallied.hits[FIRST_SCORE:], tallied.scored) == ((1, 2, 3, 4), 10)


def test_overwhelming_evidence_stays_finite():
    wealth = FULL.start(1.0)
    for _ in range(20):
        wealth = FULL.bet(wealth, comparable(counted(10**6, {FAILED: 10**6}), counted(10**6)))
    assert np.isfinite(blaming(wealth))


def _binomial(k, n, p):
    return comb(n, k) * p**k * (1 - p) ** (n - k)
