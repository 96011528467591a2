"""The ramp and the sample-ratio test."""

from dataclasses import replace
from math import comb

import numpy as np
import pytest

from perch.core import Policy, Slo, reference
from perch.core.events import Record, tally
from perch.core.ramp import excess_bound, harm_bound, next_weight
from perch.core.sample_ratio import LARGEST_INCREMENT_PER_S, MASS_PER_TICK, PRIOR, RATIOS, START_MASS, SampleRatio
from perch.core.types import Arm, Counts, Grid

GRID = Grid((50.0, 100.0), (0.0,))
REFERENCE = reference(Counts.none(GRID), GRID, Slo(latency_p99_ms=100.0), None)
POLICY = Policy()


def answers(n, failed=0, slow=0):
    return tally(Counts(n, failed, (n - failed - slow, 0, slow), (0, n - failed)), REFERENCE)


def record(*ticks):
    """The record of ticks, each (canary, stable)."""
    total = Record()
    for canary, stable in ticks:
        total = total.after({Arm.CANARY: canary, Arm.STABLE: stable}, REFERENCE)
    return total


def bound(*ticks):
    return harm_bound(record(*ticks), REFERENCE, POLICY)


def test_the_weight_at_most_doubles():
    assert next_weight(0.01, harm=0.001, requests_per_s=1.0, policy=POLICY) == 0.02


def test_the_weight_is_what_the_budget_affords_at_the_upper_bound_of_harm():
    # 2 bad responses / (40 requests/s x 5 s x 0.5 excess)
    assert next_weight(0.015, 0.5, 40.0, POLICY) == pytest.approx(2 / 100)
    # above 2,000 requests a reaction: 0.1 % of them
    assert next_weight(0.001, 0.6, 10_000.0, POLICY) == pytest.approx(0.001 / 0.6)


@pytest.mark.parametrize(
    ("harm", "cap"),
    [(0.051, 0.03), (0.049, 0.08), (0.021, 0.08), (0.019, 0.3), (0.011, 0.3), (0.009, POLICY.max_weight)],
)
def test_the_weight_is_capped_until_gross_harm_is_excluded(harm, cap):
    assert next_weight(cap * 0.9, harm, 0.001, POLICY) == cap


@pytest.mark.parametrize("harm", [0.0, 0.015, 0.03, 0.3, 1.0])
def test_no_cap_takes_back_a_weight_once_given(harm):
    assert next_weight(0.4, harm, 1_000.0, POLICY) >= 0.4


def test_the_weight_never_falls_and_a_better_canary_costs_nothing():
    assert next_weight(0.3, 1.0, 1_000.0, POLICY) == 0.3
    assert next_weight(0.3, -0.1, 1_000.0, POLICY) == 0.5
    assert next_weight(0.05, 0.0, 100.0, replace(POLICY, max_weight=0.08)) == 0.08


def test_harm_is_bounded_only_when_the_canary_answered():
    stable = answers(1_000, failed=1)
    assert bound() is None
    assert bound((answers(0), stable)) is None
    assert 0 < bound((answers(1_000), stable)) < 0.01
    assert bound((answers(1_000, slow=100), stable)) > 0.1


def test_a_slow_answer_is_as_bad_as_a_failed_one():
    stable = answers(1_000)
    assert bound((answers(500, slow=3), stable)) == bound((answers(500, failed=3), stable))


def test_what_is_matched_is_the_champions_part_for_as_many_requests_as_the_canary_had():
    assert record((answers(50), answers(100, failed=10, slow=4))).matched == (5.0, 2.0)
    assert record((answers(400), answers(100, failed=10, slow=4))).matched == (10.0, 4.0)
    assert record((answers(50), answers(0))).matched == (0.0, 0.0)


def test_what_was_counted_since_an_earlier_moment_is_the_difference():
    early, late = (answers(50, failed=2), answers(200, failed=8)), (answers(100, slow=5), answers(100, slow=3))
    assert record(early, late).since(record(early)) == record(late)
    assert record(early).since(Record()) == record(early)


def test_the_champions_bad_start_does_not_hide_harm():
    """Most of the champion's requests come while both fail 30 %, most of the canary's when it alone fails."""
    ticks = (answers(100, 30), answers(900, 270)), (answers(900, 90), answers(100))
    total = record(*ticks)
    canary, stable = total.arms[Arm.CANARY], total.arms[Arm.STABLE]
    assert total.matched[0] == pytest.approx(30)
    assert canary.failed / canary.finished < stable.failed / stable.finished
    assert bound(*ticks) > 90 / 1_000


@pytest.mark.parametrize("rate", [0.02, 0.3])
def test_the_bound_holds_at_every_look_while_the_canarys_part_grows(rate):
    """The champion fails ten times as often in the first half, and the canary exactly as often as the champion."""
    rng, broken = np.random.default_rng(7), 0
    for _ in range(200):
        total = Record()
        for tick in range(40):
            share, now = min(0.01 * 2 ** (tick // 5), 0.5), rate if tick < 20 else rate / 10
            n = round(100 * share)
            canary, stable = (answers(k, int(rng.binomial(k, now))) for k in (n, 100 - n))
            total = total.after({Arm.CANARY: canary, Arm.STABLE: stable}, REFERENCE)
            if harm_bound(total, REFERENCE, POLICY) < 0:
                broken += 1
                break
    assert broken <= 200 * POLICY.beta


def test_more_of_the_champions_bad_responses_make_the_canarys_excess_smaller():
    bounds = [excess_bound(5, 500, float(matched), 1_000, POLICY.beta) for matched in range(0, 50, 5)]
    assert bounds == sorted(bounds, reverse=True)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.98])
def test_the_right_split_gains_nothing_in_expectation(share):
    """Exact, over all splits of 9 requests."""
    start = SampleRatio()
    gain = sum(comb(9, k) * share**k * (1 - share) ** (9 - k) * start.after(k, 9 - k, share).e_value for k in range(10))
    assert gain <= 1 + 1e-12
    assert start.e_value == pytest.approx(1)


def test_a_silent_canary_is_found_within_ten_requests():
    split, ticks = SampleRatio(), 0
    while split.e_value < 1_000:
        split, ticks = split.after(0, 99, 0.01), ticks + 1
    assert ticks <= 10
    assert split.canary_is_silent
    assert not split.stable_is_silent
    assert split.canary == 0


def test_a_canary_that_falls_silent_late_is_found_as_well():
    split = SampleRatio()
    for _ in range(1_000):
        split = split.after(10, 10, 0.5)
    assert split.e_value < 1
    for _ in range(5):
        split = split.after(0, 10, 0.5)
    assert split.e_value > 1_000
    assert split.canary_is_silent
    assert split.expected <= 25


def test_a_silent_canary_is_found_in_four_ticks_at_any_rate():
    for requests in (20, 200, 2_000):
        split = SampleRatio()
        for _ in range(4):
            split = split.after(0, requests // 2, 0.5)
        assert split.e_value > 1_000


@pytest.mark.parametrize("ticks", [1, 2])
@pytest.mark.parametrize("lost", [0.5, 0.8, 1.0])
def test_answers_that_come_a_tick_late_are_no_wrong_split(ticks, lost):
    split = SampleRatio()
    for tick in range(200):
        late = round(75 * lost) if 60 <= tick < 60 + ticks else 0
        caught_up = round(75 * lost) * ticks if tick == 60 + ticks else 0
        split = split.after(75 - late + caught_up, 75, 0.5)
        assert split.e_value < 1_000


def test_a_fault_that_is_put_up_with_does_not_hide_the_next():
    split = SampleRatio()
    for _ in range(3_600):
        split = split.after(98, 0, 0.98)
    assert split.stable_is_silent
    for _ in range(60):
        split = split.after(0, 2, 0.98)
    assert split.canary_is_silent


def test_a_silent_champion_is_told_from_a_silent_canary():
    split = SampleRatio()
    for _ in range(5):
        split = split.after(10, 0, 0.5)
    assert split.stable_is_silent
    assert not split.canary_is_silent


def test_small_differences_of_the_split_do_not_add_up():
    rng, split = np.random.default_rng(3), SampleRatio()
    for _ in range(3_600):
        canary = int(rng.binomial(100, 0.5 * 1.05))
        split = split.after(canary, 100 - canary, 0.5)
        assert split.e_value < 1_000


def test_the_increment_is_the_likelihood_ratio():
    ratios, prior = np.array(RATIOS), np.array(PRIOR)
    ending = 0.2 * ratios / (0.2 * ratios + 0.8)
    after = SampleRatio().after(3, 5, 0.2)
    at_work = (START_MASS + MASS_PER_TICK * (1 - START_MASS)) * prior
    expected = at_work * (ending / 0.2) ** 3 * ((1 - ending) / 0.8) ** 5
    assert after.wealth == pytest.approx(expected.tolist())
    assert after.e_value == pytest.approx(expected.sum() + (1 - START_MASS) * (1 - MASS_PER_TICK))


@pytest.mark.parametrize("elapsed_s", [1.0, 10.0])
def test_no_second_adds_more_than_its_part(elapsed_s):
    after = SampleRatio().after(0, 10_000, 0.5, elapsed_s)
    assert after.e_value <= np.exp(LARGEST_INCREMENT_PER_S * elapsed_s)
