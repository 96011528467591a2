import numpy as np

from perch.core.drift import WINDOW_S, Drift, stability_index

EDGES = np.arange(-8, 2.125, 0.125)


def counted(mean, n, seed=0):
    logits = np.random.default_rng(seed).normal(mean, 1.0, n)
    return tuple(np.bincount(np.searchsorted(EDGES, logits), minlength=len(EDGES) + 1).tolist())


def test_the_index_is_near_zero_for_equal_shares_and_large_for_moved_ones():
    before = counted(-4, 3_000)
    assert stability_index(before, counted(-4, 3_000, seed=1)) < 0.03
    assert stability_index(before, counted(-3.2, 3_000, seed=1)) > 0.25


def test_the_index_is_what_a_table_of_deciles_gives():
    assert abs(stability_index((5_000, 5_000), (2_500, 7_500)) - (0.25 * np.log(0.5) * -1 + 0.25 * np.log(1.5))) < 1e-3


def test_the_first_full_window_is_the_reference():
    drift = Drift().after(counted(-4, 3_000), WINDOW_S)
    assert drift.psi is None
    assert drift.after(counted(-4, 3_000, seed=1), WINDOW_S).psi < 0.03
    assert drift.after(counted(-3, 3_000, seed=1), WINDOW_S).psi > 0.25


def test_a_window_needs_both_rows_and_time():
    assert not Drift().after(counted(-4, 1_000), WINDOW_S).reference
    assert not Drift().after(counted(-4, 9_000), WINDOW_S / 2).reference
    assert Drift().after(counted(-4, 1_500), WINDOW_S / 2).after(counted(-4, 1_500), WINDOW_S / 2).reference


def test_what_was_not_counted_changes_nothing():
    drift = Drift().after(counted(-4, 100), 60.0)
    assert drift.after((), 60.0) == drift
