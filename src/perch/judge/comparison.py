"""Says of a window, by Evidently, whether the canary is given what the champion is given.

Every column is tested, and whether it is missing; numbers by `ks`, categories by a chi-square test. Method and
threshold are pinned: left to itself, Evidently changes from p-values to distances when there are more than 1,000 rows.

**Two samples.** Evidently's own `chisquare` and `g_test` ask whether the current rows could come from the reference as
it is, as if that were known exactly. Of two samples of 200 rows from the same eight categories they find 45 % different
at 5 %. So the chi-square test of two samples is registered with Evidently under a name of its own.

**One p-value.** The least, times the number of tests (Bonferroni), which is valid however columns hang together. How
many tests there are follows from both arms' rows taken together, in which nothing says whose they are.
"""

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency

from perch.signals.events import Row
from perch.signals.judging import Judged, Window

os.environ.setdefault("DO_NOT_TRACK", "1")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what Evidently brings with it
    from evidently import DataDefinition, Dataset, Report
    from evidently.legacy.calculations.stattests.registry import StatTest, register_stattest
    from evidently.legacy.core import ColumnType
    from evidently.metrics import ValueDrift

KS: Final = "ks"
TWO_SAMPLE_CHI_SQUARE: Final = "perch_two_sample_chisquare"

_NAMES: Final = {KS: "Kolmogorov-Smirnov", TWO_SAMPLE_CHI_SQUARE: "chi-square"}
_THRESHOLD: Final = 0.05  # of what a report calls drift; the verdict is the engine's
_FEWEST: Final = 20  # values of both arms; fewer tell nothing


class Question(NamedTuple):
    """One test of a window."""

    name: str
    """Of what is compared: a column, or whether it is missing."""

    method: str


class Compared(NamedTuple):
    """What was found out about a window."""

    judged: Judged
    report: str | None
    """Evidently's own, as a page of HTML; `None` where there was nothing to test."""


def compare(window: Window) -> Compared:
    """Judge a window: p is at most u with a probability of at most u, where both arms are given the same."""
    p_values, report = _p_values(window)
    p_value, finding = 1.0, ""
    if p_values:
        least = min(p_values, key=lambda question: p_values[question])
        p_value = min(1.0, len(p_values) * p_values[least])
        finding = (
            f"by Evidently {least.name} differs most ({_NAMES[least.method]}, p = {p_values[least]:.2g} in one of"
            f" {len(p_values)} tests) over {len(window.canary_rows)} requests each"
        )
    judged = Judged(window.stable, window.canary, window.from_s, window.until_s, p_value, finding)
    return Compared(judged, report)


def _p_values(window: Window) -> tuple[dict[Question, float], str | None]:
    columns = [name for name in window.stable_rows[0] if name in window.canary_rows[0]]
    stable, canary = _frame(window.stable_rows, columns), _frame(window.canary_rows, columns)
    asked = list(_questions(pd.concat([stable, canary])))
    testable = [one for one in asked if stable[one.name].notna().any() and canary[one.name].notna().any()]
    if not testable:
        return dict.fromkeys(asked, 1.0), None
    drifts, report = _drifts(testable, canary, stable)
    return {**dict.fromkeys(asked, 1.0), **drifts}, report


def _drifts(
    questions: Sequence[Question], current: pd.DataFrame, reference: pd.DataFrame
) -> tuple[dict[Question, float], str]:
    """Evidently's p-value of each question, and its report."""
    names = {method: [one.name for one in questions if one.method == method] for method in _NAMES}
    definition = DataDefinition(numerical_columns=names[KS], categorical_columns=names[TWO_SAMPLE_CHI_SQUARE])
    columns = [one.name for one in questions]
    metrics = [ValueDrift(column=one.name, method=one.method, threshold=_THRESHOLD) for one in questions]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        snapshot = Report(metrics).run(
            Dataset.from_pandas(current[columns], definition), Dataset.from_pandas(reference[columns], definition)
        )
        found = {metric["config"]["column"]: float(metric["value"]) for metric in snapshot.dict()["metrics"]}
        report = snapshot.get_html_str(as_iframe=False)
    return {one: found[one.name] if np.isfinite(found[one.name]) else 1.0 for one in questions}, report


def _frame(rows: Sequence[Row], columns: Iterable[str]) -> pd.DataFrame:
    """A column for each of some of the rows' columns, and one for whether it is missing."""
    values = {name: pd.Series([row.get(name) for row in rows], dtype=object) for name in columns}
    frame = {f"column {name}": given for name, given in values.items()}
    frame |= {f"whether column {name} is missing": given.isna().map(str) for name, given in values.items()}
    return pd.DataFrame({name: _typed(given) for name, given in frame.items()})


def _typed(values: pd.Series) -> pd.Series:
    return values if any(isinstance(value, str) for value in values) else values.astype(float)


def _questions(pooled: pd.DataFrame) -> Iterator[Question]:
    """What can be asked of rows in which there is something to tell apart."""
    for name in pooled:
        values = pooled[name].dropna()
        if len(values) >= _FEWEST and (values != values.iloc[0]).any():
            is_text = any(isinstance(value, str) for value in values)
            yield Question(str(name), TWO_SAMPLE_CHI_SQUARE if is_text else KS)


def _two_sample_chi_square(
    reference: pd.Series,
    current: pd.Series,
    _: object,
    threshold: float,
) -> tuple[float, bool]:
    """A test of Evidently's interface. Between arms of one size rare categories only make it more cautious.

    With x of m values in the current rows, each category adds (2x - m)^2 / m, whose variance is 2 - 2/m, and that of
    chi-square is 2.
    """
    counts = pd.concat([reference.value_counts(), current.value_counts()], axis=1).fillna(0).to_numpy()
    p_value = float(chi2_contingency(counts, correction=False).pvalue)
    return p_value, p_value < threshold


register_stattest(
    StatTest(
        name=TWO_SAMPLE_CHI_SQUARE,
        display_name="chi-square of two samples, p_value",
        allowed_feature_types=[ColumnType.Categorical],
        default_threshold=_THRESHOLD,
    ),
    _two_sample_chi_square,
)
