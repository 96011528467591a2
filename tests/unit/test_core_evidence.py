from dataclasses import replace
from itertools import product
from math import comb, exp, log

import numpy as np
import pytest

from perch.core import Policy, Slo, reference
from perch.core.events import FAILED, Tally, slo_event, tally
from perch.core.evidence import Family, clearing_family, core_family, full_family, merged
from perch.core.types import Counts, Grid

SLO = Slo(latency_p99_ms=10.0)
GRID = Grid(latency_ms=(1.0, 5.0, 10.0, 20.0), score_logit=(-2.0, 0.0, 2.0))
STABLE = Counts(1_000, 0, (500, 300, 190, 10, 0), (250, 250, 250, 250))
REFERENCE = reference(STABLE, GRID, SLO, ((2_500,) * 4, (2_000, 2_000, 5_000, 1_000)))
FULL = full_family(REFERENCE, Policy())


def one_event(hits, exposed):
    return Tally(np.array([float(hits)]), np.array([float(exposed)]))


def single(null, alternative):
    return Family(np.array([0]), np.log([null]), np.log([alternative]), np.zeros(1), np.full(1, np.inf))


def increment(null, alternative, canary, stable):
    """`canary` and `stable` are (events, requests)."""
    return float(single(null, alternative).increments(one_event(*canary), one_event(*stable))[0])


def test_the_increment_is_the_log_likelihood_ratio_of_where_the_events_fell():
    share = 20 / (20 + 80)
    null, alternative = (share * r / (share * r + 1 - share) for r in (1.25, 5.0))
    expected = 3 * log(alternative / null) + 4 * log((1 - alternative) / (1 - null))
    assert increment(1.25, 5.0, (3, 20), (4, 80)) == pytest.approx(expected, rel=1e-12)


RATIOS = [(1.25, 1.5), (1.25, 300.0), (2.0, 1.0), (2.0, 0.2), (4.0, 30.0), (1 / 8, 1 / 30)]


@pytest.mark.parametrize(("null", "alternative"), RATIOS)
@pytest.mark.parametrize(("n_canary", "n_stable"), [(1, 6), (5, 5), (6, 2)])
def test_no_pair_of_rates_under_the_null_gains_in_expectation(null, alternative, n_canary, n_stable):
    """Exact: every outcome of both arms, for independent requests with rates on and below the null."""
    for stable_rate, ratio in product((0.01, 0.3, 0.9), (null, null * (0.5 if alternative > null else 2.0))):
        canary_rate = ratio * stable_rate
        if canary_rate > 1:
            continue
        gain = sum(
            _binomial(x, n_canary, canary_rate)
            * _binomial(y, n_stable, stable_rate)
            * exp(increment(null, alternative, (x, n_canary), (y, n_stable)))
            for x, y in product(range(n_canary + 1), range(n_stable + 1))
        )
        assert gain <= 1 + 1e-12


@pytest.mark.parametrize(("null", "alternative"), [pair for pair in RATIOS if (pair[0] > 1) == (pair[1] > pair[0])])
@pytest.mark.parametrize("events", range(8))
def test_splitting_the_same_requests_at_random_gains_nothing_in_expectation(null, alternative, events):
    """Exact: `events` of 10 requests are hard, 4 of the 10 go to the canary (hypergeometric)."""
    total = sum(
        comb(events, x) * comb(10 - events, 4 - x) * exp(increment(null, alternative, (x, 4), (events - x, 6)))
        for x in range(max(0, events - 6), min(events, 4) + 1)
    )
    assert total / comb(10, 4) <= 1 + 1e-12


@pytest.mark.parametrize("alternative", [1.5, 5.0, 300.0])
def test_requests_mirrored_to_both_arms_gain_nothing_in_expectation(alternative):
    """Exact: each of 4 requests is answered by both arms; a hard one fails with 0.8 in each, an easy one with 0.05."""
    gain = 0.0
    for hard in product((0.8, 0.05), repeat=4):
        for xs, ys in product(product((0, 1), repeat=4), repeat=2):
            chance = np.prod([(p if x else 1 - p) * (p if y else 1 - p) for p, x, y in zip(hard, xs, ys, strict=True)])
            gain += 0.5**4 * chance * exp(increment(1.25, alternative, (sum(xs), 4), (sum(ys), 4)))
    assert gain <= 1


def test_the_mixture_starts_at_one_and_more_mass_changes_nothing_by_itself():
    assert np.exp(FULL.log_prior).sum() == pytest.approx(1)
    start = FULL.start(0.5)
    assert merged(start, 0.5) == pytest.approx(1)
    assert merged(FULL.more(start, 0.1), 0.4) == pytest.approx(1)


def test_errors_latency_and_scores_weigh_40_35_and_25_percent():
    by_event = FULL.by_event(FULL.start(1.0), 1 + 4 + 4)[: 1 + len(REFERENCE.latency_edges) + len(REFERENCE.expected)]
    latency = 1 + len(REFERENCE.latency_edges)
    assert by_event[0] == pytest.approx(0.4)
    assert by_event[1:latency].sum() == pytest.approx(0.35)
    assert by_event[latency:].sum() == pytest.approx(0.25)


def test_weights_of_missing_groups_go_to_the_others():
    bare = reference(Counts.none(GRID), GRID, SLO, None)
    family = full_family(bare, Policy())
    assert set(family.event.tolist()) == {FAILED, slo_event(bare)}
    assert np.exp(family.log_prior).sum() == pytest.approx(1)


def test_an_alternative_must_exceed_what_is_tolerated():
    family = core_family(REFERENCE, replace(Policy(), tolerated_ratio=3.0))
    assert (family.log_alternative > family.log_null).all()
    assert len(core_family(REFERENCE, replace(Policy(), tolerated_ratio=100.0)).event) == 2


def test_scores_are_tested_both_ways_around_what_the_evaluation_predicts():
    rows = FULL.event == 1 + len(REFERENCE.latency_edges) + 2
    predicted = REFERENCE.expected[2]
    tolerated = Policy().tolerated_score_ratio
    assert set(np.round(np.exp(FULL.log_null[rows]) / predicted, 9)) == {round(tolerated, 9), round(1 / tolerated, 9)}
    upward = FULL.log_null[rows] > log(predicted)
    excess = FULL.log_alternative[rows] - FULL.log_null[rows]
    assert (excess[upward] > 0).all()
    assert (excess[~upward] < 0).all()


def test_a_tick_full_of_slow_answers_convicts_nobody_but_failures_do():
    size = 1 + len(REFERENCE.latency_edges) + len(REFERENCE.expected)
    clean, all_bad = Tally(np.zeros(size), np.full(size, 100.0)), Tally(np.full(size, 90.0), np.full(size, 100.0))
    by_row = FULL.increments(all_bad, clean)
    latency = (FULL.event >= 1) & (FULL.event <= len(REFERENCE.latency_edges))
    assert by_row[latency].max() == 2.0
    assert by_row[FULL.event == FAILED].max() > 20


def test_an_arm_without_exposure_changes_nothing():
    harmed = Tally(np.full(20, 3.0)[: FULL.event.max() + 1], np.zeros(FULL.event.max() + 1))
    other = Tally(np.full(FULL.event.max() + 1, 5.0), np.full(FULL.event.max() + 1, 50.0))
    start = FULL.start(1.0)
    assert FULL.bet(start, harmed, other) == start
    assert FULL.bet(start, other, harmed) == start


def test_clearing_gains_from_an_equal_arm_and_loses_from_a_bad_one():
    family = clearing_family(REFERENCE, 3.0)
    size = int(family.event.max()) + 1
    start = family.start(1.0)
    equal = Tally(np.full(size, 20.0), np.full(size, 1_000.0))
    bad = Tally(np.full(size, 100.0), np.full(size, 1_000.0))
    assert family.by_event(start, size)[FAILED] == pytest.approx(1)
    assert family.by_event(family.bet(start, equal, equal), size)[FAILED] > 20
    assert family.by_event(family.bet(start, bad, equal), size)[FAILED] < 0.01


def test_a_failed_request_is_not_also_slow_and_has_no_score():
    counts = Counts(requests=12, failed=2, latency=(4, 3, 2, 1, 0), scores=(1, 2, 3, 4))
    tallied = tally(counts, REFERENCE)
    assert tallied.hits[FAILED] == 2
    assert tallied.exposed[FAILED] == 12
    assert tallied.hits[slo_event(REFERENCE)] == 1
    assert tallied.exposed[slo_event(REFERENCE)] == 10
    assert tallied.hits[-4:].tolist() == [1, 2, 3, 4]


def test_overwhelming_evidence_stays_finite():
    assert np.isfinite(merged((5_000.0, 3.0), 0.1))


def _binomial(k, n, p):
    return comb(n, k) * p**k * (1 - p) ** (n - k)
