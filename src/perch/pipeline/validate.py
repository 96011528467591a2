"""Step 2: refuse a log that would train a wrong model, and name the column that is wrong."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pandera.pandas as pandera
from pandera.errors import SchemaErrors

from perch.errors import DataError
from perch.workload.schema import Schema

_MAX_MISSING = 0.99
_MAX_CLICK_RATE = 0.9
_MAX_COPIES = 0.01

_ABSENT = f"missing in more than {_MAX_MISSING:.0%} of the rows"
_NO_CLICKS = "0 everywhere: the log has no clicks at all"
_ALL_CLICKS = "1 nearly everywhere"

_CLOCK_SKEW_S = 3_600.0
"""Clocks may differ by so much, in seconds, before a time counts as one of the future."""


@dataclass(frozen=True, slots=True)
class Validated:
    """What validation measured."""

    rows: int
    clicks: int
    missing: dict[str, float]
    """Share of the rows without a value, by input column that has any."""


def validate(frame: pd.DataFrame, schema: Schema, *, now_s: float) -> Validated:
    """Check types, ranges, missingness, times and the click rate of a log.

    Args:
        frame: The log.
        schema: Names and roles of its columns.
        now_s: Seconds since the epoch; what is told of later times was not observed.

    Raises:
        DataError: Something is wrong; the message names every column that is, or the rows that came twice.
    """
    _check(frame, _expectations(schema, frame, now_s, whole=True))
    _check_copies(frame, schema)
    missing = frame[list(schema.inputs)].isna().mean()
    return Validated(
        rows=len(frame),
        clicks=int(frame[schema.label].sum()),
        missing={str(name): float(share) for name, share in missing.items() if share > 0},
    )


def validate_parts(parts: Iterable[pd.DataFrame], schema: Schema, *, now_s: float) -> Validated:
    """Check a log that comes in parts, by the same rules: values in each part, shares over all of them.

    Rows that came twice are found where both are in one part; rows are named by the parts' indexes.

    Raises:
        DataError: As `validate`.
    """
    rows, clicks, missing = 0, 0, pd.Series(0, schema.inputs)
    for part in parts:
        _check(part, _expectations(schema, part, now_s, whole=False))
        _check_copies(part, schema)
        rows, clicks = rows + len(part), clicks + int(part[schema.label].sum())
        missing += part[list(schema.inputs)].isna().sum()
    shares = {str(name): count / rows for name, count in missing.items() if count}
    clauses = [f"{name} is {_ABSENT}" for name, share in shares.items() if share > _MAX_MISSING]
    clauses += [f"{schema.label} is {_NO_CLICKS}"] if not clicks else []
    clauses += [f"{schema.label} is {_ALL_CLICKS}"] if clicks >= _MAX_CLICK_RATE * rows else []
    if clauses:
        raise DataError(_refusal(clauses))
    return Validated(rows, clicks, shares)


def _check(frame: pd.DataFrame, expected: pandera.DataFrameSchema) -> None:
    try:
        expected.validate(frame, lazy=True)
    except SchemaErrors as error:
        raise DataError(_sentence(error)) from error


def _expectations(schema: Schema, frame: pd.DataFrame, now_s: float, *, whole: bool) -> pandera.DataFrameSchema:
    """What a log must keep to; what is said of shares only where the frame is the whole log."""
    shares = [_present()] if whole else []
    columns = {name: pandera.Column("category", list(shares), nullable=True) for name in schema.categorical}
    for name in schema.numeric:
        checks = list(shares)
        if name in schema.ranges:
            low, high = schema.ranges[name]
            checks.append(pandera.Check.in_range(low, high, error=f"outside {low:g} to {high:g}"))
        else:
            checks.append(_finite())
        columns[name] = pandera.Column(float, checks, nullable=True)
    columns[schema.time] = pandera.Column(float, [_finite(), _past(now_s)])
    label = [pandera.Check.isin([0, 1], error="neither 0 nor 1")]
    if whole:
        label.append(pandera.Check(lambda clicks: bool(clicks.any()), error=_NO_CLICKS))
        label.append(pandera.Check(lambda clicks: bool(clicks.mean() < _MAX_CLICK_RATE), error=_ALL_CLICKS))
    columns[schema.label] = pandera.Column(float, label)
    if schema.label_time is not None:
        columns[schema.label_time] = _click_times(frame[schema.label] == 1, frame[schema.time], now_s)
    if schema.explored is not None:
        columns[schema.explored] = pandera.Column(float, pandera.Check.isin([0, 1], error="neither 0 nor 1"))
    return pandera.DataFrameSchema(columns)


def _click_times(clicked: "pd.Series[bool]", time_s: "pd.Series[float]", now_s: float) -> pandera.Column:
    """A click without a time, or with a wrong one, would silently become a non-click."""
    return pandera.Column(
        float,
        [
            pandera.Check(lambda at_s: at_s.notna() | ~clicked, error="missing beside a click", ignore_na=False),
            pandera.Check(lambda at_s: at_s.isna() | (at_s >= time_s), error="before the impression", ignore_na=False),
            _past(now_s),
        ],
        nullable=True,
    )


def _finite() -> pandera.Check:
    return pandera.Check(lambda values: values.abs() < float("inf"), error="infinite")


def _past(now_s: float) -> pandera.Check:
    return pandera.Check(
        lambda at_s: ~(at_s > now_s + _CLOCK_SKEW_S) | np.isinf(at_s), error="in the future", ignore_na=False
    )


def _check_copies(frame: pd.DataFrame, schema: Schema) -> None:
    """Check that no part of the log was delivered twice, as far as times tell rows apart.

    Where ten rows share a time, as in a log with the hour alone, equal rows may well be two impressions.
    """
    time_s = frame[schema.time]
    if time_s.nunique() < len(frame) / 10:
        return
    suspects = frame.loc[time_s.duplicated(keep=False), list(schema.columns)]
    copies = suspects.index[suspects.duplicated()]
    if len(copies) > _MAX_COPIES * len(frame):
        raise DataError(
            f"the log cannot be trained on: {len(copies):,} of {len(frame):,} rows are copies of earlier ones, first "
            f"row {int(copies[0]):,}: a part of it was delivered twice. Take the copies out"
        )


def _present() -> pandera.Check:
    return pandera.Check(
        lambda values: bool(values.isna().mean() <= _MAX_MISSING),
        error=_ABSENT,
        ignore_na=False,
    )


def _sentence(error: SchemaErrors) -> str:
    """One clause for each broken column, with an example where a single value is at fault."""
    clauses = []
    for (column, check), cases in error.failure_cases.groupby(["column", "check"], sort=False):
        case, row = cases["failure_case"].iloc[0], cases["index"].iloc[0]
        what = "missing" if check == "not_nullable" else check
        value = "" if pd.isna(case) else f"{case} "
        example = f" in {len(cases)} rows, first {value}in row {int(row)}" if pd.notna(row) else ""
        clauses.append(f"{column} is {what}{example}")
    return _refusal(clauses)


def _refusal(clauses: list[str]) -> str:
    return f"the log cannot be trained on: {'; '.join(clauses)}. Repair the log"
