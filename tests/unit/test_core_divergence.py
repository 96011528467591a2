"""Divergences against what is known of them."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from perch.core.chance import dispersion, limit, prior_of, repetition
from perch.core.divergence import jensen_shannon, shares, stability_index

P, Q = np.array([0.2, 0.3, 0.5]), np.array([0.4, 0.4, 0.2])


def test_equal_shares_do_not_diverge():
    assert stability_index(P, P) == 0
    assert jensen_shannon(P, P) == 0


def test_the_stability_index_is_the_sum_of_its_terms_and_does_not_know_which_came_first():
    assert stability_index(P, Q) == pytest.approx(0.2 * np.log(2) + 0.1 * np.log(4 / 3) + 0.3 * np.log(2.5))
    assert stability_index(P, Q) == pytest.approx(float(stability_index(Q, P)))


def test_the_jensen_shannon_distance_is_scipys():
    assert jensen_shannon(P, Q) == pytest.approx(jensenshannon(P, Q), abs=1e-12)
    assert jensen_shannon([1 - 1e-12, 1e-12], [1e-12, 1 - 1e-12]) == pytest.approx(np.sqrt(np.log(2)), abs=1e-6)


def test_half_a_row_is_added_to_each_bin_so_that_none_is_empty():
    assert shares([0, 1]).tolist() == [0.25, 0.75]


@pytest.mark.parametrize("reference", [(600,) * 10, (5_000, 600, 300, 80, 15, 5, 0, 0), (6_000,) + (0,) * 15])
@pytest.mark.parametrize("rows", [50, 1_000, 15_000])
def test_chance_exceeds_its_limit_as_often_as_it_is_told(reference, rows):
    rng, level, n = np.random.default_rng(1), 0.01, 20_000
    truth = shares(reference)
    before, after = rng.multinomial(sum(reference), truth, n), rng.multinomial(rows, truth, n)
    exceeds = stability_index(shares(before), shares(after)) > limit(reference, rows, level)
    assert exceeds.mean() < 2 * level


@pytest.mark.parametrize("repeats", [4, 10])
def test_rows_that_repeat_exceed_their_limit_no_more_often(repeats):
    rng, reference, level, n = np.random.default_rng(1), (600,) * 8 + (60, 6), 0.01, 20_000
    truth = shares(reference)
    before = rng.multinomial(sum(reference), truth, n)
    after = repeats * rng.multinomial(200 // repeats, truth, n)
    assert (stability_index(shares(before), shares(after)) > limit(reference, 200, level, repeats)).mean() < 2 * level


def test_the_limit_falls_with_the_rows_and_is_the_same_each_time():
    reference = (600,) * 10
    limits = [limit(reference, rows, 0.001) for rows in (100, 1_000, 10_000)]
    assert limits == sorted(limits, reverse=True)
    assert limits[0] > 0.2 > limits[1]
    assert limit(reference, 1_000, 0.001) == limits[1]


def test_rows_that_come_by_themselves_tell_one_each_and_repeated_ones_fewer():
    rng = np.random.default_rng(0)
    windows = rng.multinomial(1_000, [0.1] * 10, 24)
    single = tuple(repetition(tuple(a), tuple(b)) for a, b in zip(windows[::2], windows[1::2], strict=True))
    fivefold = tuple(repetition(tuple(5 * a), tuple(5 * b)) for a, b in zip(windows[::2], windows[1::2], strict=True))
    assert 1 <= dispersion(single, 2.0) < 1.6
    assert 4 < dispersion(fivefold, 2.0) < 8


def test_nothing_is_told_of_repetition_by_windows_without_rows():
    assert repetition((0, 0), (5, 5)) is None
    assert repetition((50, 0), (50, 0)) is None
    assert dispersion((), 2.0) == 2.0


def test_a_column_that_is_new_is_taken_for_the_others():
    assert prior_of([]) == 2.0
    assert prior_of([1.0, 1.1, 9.0, 9.5, 10.0]) > 9.0
    assert dispersion((1.0,), 8.0) == 8.0
    assert dispersion((1.0, 1.1, 0.9), 8.0) == 1.1
