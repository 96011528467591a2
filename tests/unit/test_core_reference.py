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


def rows(where):
    """A histogram from {logit: rows}."""
    return counts(scores=where).scores


EVEN = rows({-8 + i / 2: 300 for i in range(20)})
MANY = counts({2.0: 500, 50.0: 500})


def test_few_counts_leave_failures_the_slo_and_the_scores():
    ref = reference(counts({20.0: 99}), GRID, SLO, (EVEN, EVEN))
    assert edges_ms(ref) == [100.0]
    assert len(ref.score_starts) == 10
    assert [what.split()[0] for what in ref.untested] == ["latency"]


def test_score_bins_are_the_deciles_of_the_champions_evaluation_whatever_it_answered_before():
    ref = reference(counts(), GRID, SLO, (EVEN, EVEN))
    assert [sum(EVEN[a:b]) for a, b in ref.score_ranges] == [600] * 10
    assert ref.score_starts[0] == 0
    assert list(ref.score_ranges)[-1][1] == len(EVEN)
    assert ref.expected == (1.0,) * 10


def test_the_prediction_is_the_ratio_of_the_shares_in_both_evaluations():
    ref = reference(MANY, GRID, SLO, (rows({-4.0: 3_600, 0.0: 2_400}), rows({-4.0: 600, 0.0: 2_400})))
    assert ref.expected == pytest.approx((0.2 / 0.6, 0.8 / 0.4))
    assert ref.untested == ()


def test_a_bin_with_few_rows_of_either_version_is_joined_with_its_neighbour():
    canary = rows({-8 + i / 2: 300 for i in range(3, 17)})
    ref = reference(MANY, GRID, SLO, (EVEN, canary))
    held = [(sum(EVEN[a:b]), sum(canary[a:b])) for a, b in ref.score_ranges]
    assert held == [(1_200, 300), *[(600, 600)] * 6, (1_200, 300)]
    assert ref.expected[0] == pytest.approx(300 / 4_200 / (1_200 / 6_000))


@pytest.mark.parametrize(
    "evaluated", [None, ((), ()), ((0,), (0,)), (EVEN, (0,) * len(EVEN)), (EVEN, rows({-4.0: 6_000}))]
)
def test_scores_are_not_tested_and_it_is_told_where_the_evaluations_predict_nothing(evaluated):
    ref = reference(MANY, GRID, SLO, evaluated)
    assert ref.score_starts == ref.expected == ()
    assert list(ref.score_ranges) == []
    assert [what.split(",")[0] for what in ref.untested] == ["scores"]


def test_an_slo_that_nobody_counts_is_refused():
    with pytest.raises(RolloutError, match=r"limit of 37 ms is no edge"):
        reference(counts(), GRID, Slo(latency_p99_ms=37.0), None)


def test_counts_on_another_grid_are_refused():
    other = Grid(latency_ms=(50.0, 100.0), score_logit=(0.0,))
    with pytest.raises(RolloutError, match="grid"):
        reference(counts(), other, SLO, None)
