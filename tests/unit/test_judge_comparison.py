"""What Evidently is asked about a window, and whether its p-values hold what they promise."""

import numpy as np
import pandas as pd
import pytest

from perch.core.judge import Judge
from perch.core.policy import Policy
from perch.core.sources import Source, parts
from perch.core.types import Judgement
from perch.signals.judging import Window

comparison = pytest.importorskip("perch.judge.comparison", reason="Evidently is in the group monitor")

from evidently.legacy.calculations.stattests import get_stattest  # noqa: E402
from evidently.legacy.calculations.stattests.chisquare_stattest import _chi_stat_test  # noqa: E402
from evidently.legacy.core import ColumnType  # noqa: E402

ROWS = 200
PART = parts(Policy(external_judge=True))[Source.JUDGE] * Policy().alpha


def rows(rng, count=ROWS, **changed):
    """Like those of a click log: numbers with ties and tails, few and many categories, values that are missing."""
    columns = {
        "hour": rng.integers(0, 24, count).astype(float),
        "price": rng.lognormal(0, 1, count),
        "new": np.zeros(count),
        "device": rng.choice(["phone", "tablet", "desktop"], count, p=[0.7, 0.05, 0.25]),
        "site": rng.choice([f"s{i}" for i in range(60)], count),
        "user": [f"u{i}" for i in rng.integers(0, 100_000, count)],
    }
    made = [
        {name: v.item() if hasattr(v, "item") else v for name, v in zip(columns, row, strict=True)}
        for row in zip(*columns.values(), strict=True)
    ]
    for i, row in enumerate(made):
        row["age"] = None if rng.random() < 0.1 else float(i % 7)
        row |= {name: change(row[name]) for name, change in changed.items()}
    return made


def window(rng, stable=None, canary=None):
    return Window("1", "2", 0.0, 10.0, stable or rows(rng), canary or rows(rng))


@pytest.mark.parametrize(
    ("column", "change", "finds"),
    [
        ("price", lambda v: 2 * v, "column price differs most (Kolmogorov-Smirnov"),
        ("hour", lambda v: 0.0, "column hour differs most (Kolmogorov-Smirnov"),
        ("site", lambda v: v.upper(), "column site differs most (chi-square"),
        ("device", lambda v: "phone", "column device differs most (chi-square"),
        ("age", lambda v: None, "whether column age is missing differs most (chi-square"),
        ("price", lambda v: None, "whether column price is missing differs most (chi-square"),
    ],
)
def test_a_column_that_is_broken_is_named_and_certain(column, change, finds):
    rng = np.random.default_rng(1)
    judged = comparison.compare(window(rng, canary=rows(rng, **{column: change}))).judged
    assert Judge().after([Judgement(judged.p_value)] * 2).e_value > 1 / PART
    assert finds in judged.finding
    assert "over 200 requests each" in judged.finding


def test_the_verdict_is_of_the_window_that_was_asked_about():
    judged = comparison.compare(
        Window("7", "9", 3.0, 8.0, rows(np.random.default_rng(2)), rows(np.random.default_rng(3)))
    ).judged
    assert (judged.stable, judged.canary, judged.from_s, judged.until_s) == ("7", "9", 3.0, 8.0)


def test_of_versions_with_other_inputs_those_that_both_have_are_compared():
    rng = np.random.default_rng(9)
    of_canary = [{**row, "weather": "rain", "price": 2 * row["price"]} for row in rows(rng)]
    of_stable = [{name: value for name, value in row.items() if name != "site"} for row in rows(rng)]
    finding = comparison.compare(window(rng, of_stable, of_canary)).judged.finding
    assert "column price differs most" in finding


def test_copies_of_the_same_requests_say_nothing():
    same = rows(np.random.default_rng(4))
    assert comparison.compare(window(None, same, same)).judged.p_value == 1


@pytest.mark.parametrize(
    "same",
    [
        [{"a": 1.0, "b": "x", "c": None}] * 60,
        [{"a": None}] * 60,
        [{"a": float(i), "b": str(i)} for i in range(3)],
        [{}] * 60,
    ],
)
def test_constant_and_empty_columns_and_tiny_windows_say_nothing(same):
    assert comparison.compare(window(None, same, same)).judged.p_value == 1


def test_a_column_that_only_one_arm_has_at_all_is_found_by_its_missing():
    rng = np.random.default_rng(5)
    judged = comparison.compare(window(rng, canary=[{**row, "site": None} for row in rows(rng)])).judged
    assert "whether column site is missing" in judged.finding


def drifts(questions, current, reference):
    """Evidently's tests without its report, which takes most of the time."""
    found = {}
    for question in questions:
        kind = ColumnType.Numerical if question.method == comparison.KS else ColumnType.Categorical
        pair = reference[question.name].dropna(), current[question.name].dropna()
        found[question] = get_stattest(*pair, kind, question.method)(*pair, kind, 0.05).drift_score
    return found, ""


def test_evidently_asks_the_tests_that_are_pinned(monkeypatch):
    asked = window(np.random.default_rng(8))
    reported, report = comparison._p_values(asked)
    monkeypatch.setattr(comparison, "_drifts", drifts)
    assert reported == pytest.approx(comparison._p_values(asked)[0])
    assert "<html" in report
    assert "column price" in report
    assert {question.method for question in reported} == {comparison.KS, comparison.TWO_SAMPLE_CHI_SQUARE}


@pytest.mark.filterwarnings("ignore:ks_2samp")  # its exact form may fail, then it takes the other one
def test_p_values_are_valid_so_that_a_good_canary_is_blamed_no_oftener_than_the_judges_part_of_alpha(monkeypatch):
    """Both arms are given the same: 400 windows, as 20 rollouts of 20."""
    monkeypatch.setattr(comparison, "_drifts", drifts)
    rng = np.random.default_rng(6)
    p_values = np.array([comparison.compare(window(rng)).judged.p_value for _ in range(400)])
    for level in (0.3, 0.1, 0.01):
        assert np.mean(p_values <= level) <= level + 3 * np.sqrt(level * (1 - level) / len(p_values))
    for rollout in p_values.reshape(20, 20):
        evidence = [Judge().after(map(Judgement, rollout[:i])).e_value for i in range(21)]
        assert max(evidence) < 1 / PART


def test_the_two_sample_test_keeps_what_evidentlys_own_does_not():
    rng = np.random.default_rng(7)
    pairs = [[pd.Series(rng.choice(list("abcdefgh"), ROWS)) for _ in range(2)] for _ in range(200)]
    ours, theirs = (
        np.mean([test(*pair, None, 0.05)[1] for pair in pairs])
        for test in (comparison._two_sample_chi_square, _chi_stat_test)
    )
    assert ours <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    assert theirs > 0.3
