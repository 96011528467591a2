"""What follows from a score, at two times."""

import numpy as np
import pytest

from perch.core.recalibration import Outcomes, change, line


def sums(p, clicked):
    return sum((Outcomes.of(q, clicked=bool(y)) for q, y in zip(p, clicked, strict=True)), Outcomes())


def outcomes(seed, shift=0.0, stretch=1.0, rows=40_000):
    rng = np.random.default_rng(seed)
    z = rng.normal(-3, 1, rows)
    p = 1 / (1 + np.exp(-z))
    return sums(p, rng.random(rows) < 1 / (1 + np.exp(-(shift + stretch * z))))


def test_a_calibrated_score_has_a_line_without_shift_and_stretch():
    found = line(outcomes(0))
    assert abs(found.shift) < 3 * found.shift_variance**0.5
    assert abs(found.stretch) < 3 * found.stretch_variance**0.5


def test_nothing_has_changed_between_two_samples_of_the_same():
    assert not any(change(outcomes(seed), outcomes(seed + 100)) for seed in range(20))


def test_clicks_that_become_rarer_at_every_score_are_a_shift_of_labels():
    found = change(outcomes(0), outcomes(1, shift=-0.5))
    assert not found.is_concept
    assert "Clicks have become less frequent at every score alike" in found.sentence


def test_scores_that_tell_less_of_clicks_are_a_drift_of_the_concept():
    found = change(outcomes(0), outcomes(1, shift=-1.5, stretch=0.5))
    assert found.is_concept
    assert "Scores tell less of clicks than they did" in found.sentence


def test_sums_of_parts_are_the_sums_of_the_whole():
    p, y = [0.1, 0.2, 0.3], [1, 0, 0]
    whole, parts = sums(p, y), sums(p[:1], y[:1]) + sums(p[1:], y[1:])
    assert parts.slope == pytest.approx(whole.slope)
    assert (parts.rows, parts.clicks) == (3, 1)


@pytest.mark.parametrize("nothing", [Outcomes(), sums([0.1] * 9, [0] * 9)])
def test_rows_of_one_score_have_no_line(nothing):
    assert line(nothing) is None
    assert change(outcomes(0), nothing) is None
