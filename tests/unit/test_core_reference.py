import pytest

from perch.core import Slo, reference
from perch.core.types import Counts, Grid
from perch.errors import RolloutError
from perch.signals.names import grid

SLO = Slo(latency_p99_ms=100.0)
GRID = grid(100.0)


def counts(latency=(), scores=()):
    """Counts from {edge in ms or logit: number}; each value falls exactly on an edge."""
    by_latency, by_score = [0] * (len(GRID.latency_ms) + 1), [0] * (len(GRID.score_logit) + 1)
    for value, n in dict(latency).items():
        by_latency[GRID.latency_ms.index(value)] = n
    for value, n in dict(scores).items():
        by_score[GRID.score_logit.index(value)] = n
    return Counts(sum(by_latency), 0, tuple(by_latency), tuple(by_score))


def edges_ms(ref):
    return [GRID.latency_ms[i] for i in ref.latency_edges]


def test_latency_edges_are_the_slo_and_the_quantiles_raised_to_the_floor():
    stable = counts({2.0: 500, 12.5: 260, 20.0: 150, 50.0: 50, 200.0: 40})
    assert edges_ms(reference(stable, GRID, SLO, None)) == [10.0, 12.5, 20.0, 50.0, 100.0, 200.0]


def test_quantiles_on_one_edge_are_tested_once():
    assert edges_ms(reference(counts({20.0: 1_000}), GRID, SLO, None)) == [20.0, 100.0]


def test_a_quantile_beyond_the_last_edge_is_left_out():
    overflow = Counts(1_000, 0, (*[0] * len(GRID.latency_ms), 1_000), (0,) * (len(GRID.score_logit) + 1))
    assert edges_ms(reference(overflow, GRID, SLO, None)) == [100.0]


def test_few_counts_leave_failures_and_the_slo():
    ref = reference(counts({20.0: 99}, {-4.0: 99}), GRID, SLO, None)
    assert edges_ms(ref) == [100.0]
    assert ref.score_starts == ref.expected == ()
    assert list(ref.score_ranges()) == []


def test_score_bins_are_deciles_that_all_hold_something():
    stable = counts(scores={-8 + i / 2: 100 for i in range(20)})
    ref = reference(stable, GRID, SLO, None)
    held = [sum(stable.scores[a:b]) for a, b in ref.score_ranges()]
    assert held == [200] * 10
    assert ref.score_starts[0] == 0
    assert list(ref.score_ranges())[-1][1] == len(stable.scores)


def test_lumpy_scores_make_fewer_bins():
    stable = counts(scores={-4.0: 700, 0.0: 300})
    assert [sum(stable.scores[a:b]) for a, b in reference(stable, GRID, SLO, None).score_ranges()] == [700, 300]


def test_constant_scores_have_nothing_to_compare():
    assert reference(counts(scores={-4.0: 1_000}), GRID, SLO, None).score_starts == ()


def test_the_predicted_ratio_is_averaged_by_the_stable_arm_and_drawn_towards_one():
    stable = counts(scores={-4.0: 600, 0.0: 400})
    ratios = [1.0] * len(stable.scores)
    ratios[GRID.score_logit.index(-4.0)] = 0.5
    ratios[GRID.score_logit.index(0.0)] = 1.75
    low, high = reference(stable, GRID, SLO, tuple(ratios)).expected
    assert low == pytest.approx((600 * 0.5 + 50) / 650)
    assert high == pytest.approx((400 * 1.75 + 50) / 450)


def test_predicted_ratios_are_clipped_to_four_either_way():
    stable = counts(scores={-4.0: 60_000, 0.0: 40_000})
    ratios = [0.0] * len(stable.scores)
    ratios[GRID.score_logit.index(0.0)] = 90.0
    assert reference(stable, GRID, SLO, tuple(ratios)).expected == (0.25, 4.0)


def test_an_slo_that_nobody_counts_is_refused():
    with pytest.raises(RolloutError, match=r"limit of 37 ms is no edge"):
        reference(counts(), GRID, Slo(latency_p99_ms=37.0), None)


@pytest.mark.parametrize("expected", [None, (1.0, 1.0)])
def test_counts_on_another_grid_are_refused(expected):
    other = Grid(latency_ms=(50.0, 100.0), score_logit=(0.0,)) if expected is None else GRID
    with pytest.raises(RolloutError, match="grid"):
        reference(counts(), other, SLO, expected)
