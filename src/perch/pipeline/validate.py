"""Step 2: refuse a log that would train a wrong model, and name the column that is wrong."""

from dataclasses import dataclass

import pandas as pd
import pandera.pandas as pandera
from pandera.errors import SchemaErrors

from perch.errors import DataError
from perch.workload.schema import Schema

_MAX_MISSING = 0.99
_MAX_CLICK_RATE = 0.9


@dataclass(frozen=True, slots=True)
class Validated:
    """What validation measured."""

    rows: int
    clicks: int
    missing: dict[str, float]
    """Share of the rows without a value, by input column that has any."""


def validate(frame: pd.DataFrame, schema: Schema) -> Validated:
    """Check types, ranges, missingness and the click rate of a log.

    Raises:
        DataError: Something is wrong; the message names every column that is.
    """
    try:
        _expectations(schema, frame).validate(frame, lazy=True)
    except SchemaErrors as error:
        raise DataError(_sentence(error)) from error
    missing = frame[list(schema.inputs)].isna().mean()
    return Validated(
        rows=len(frame),
        clicks=int(frame[schema.label].sum()),
        missing={str(name): float(share) for name, share in missing.items() if share > 0},
    )


def _expectations(schema: Schema, frame: pd.DataFrame) -> pandera.DataFrameSchema:
    columns = {name: pandera.Column("category", _present(), nullable=True) for name in schema.categorical}
    for name in schema.numeric:
        checks = [_present()]
        if name in schema.ranges:
            low, high = schema.ranges[name]
            checks.append(pandera.Check.in_range(low, high, error=f"outside {low:g} to {high:g}"))
        else:
            checks.append(_finite())
        columns[name] = pandera.Column(float, checks, nullable=True)
    columns[schema.time] = pandera.Column(float, _finite())
    columns[schema.label] = pandera.Column(
        float,
        [
            pandera.Check.isin([0, 1], error="neither 0 nor 1"),
            pandera.Check(lambda clicks: bool(clicks.any()), error="0 everywhere: the log has no clicks at all"),
            pandera.Check(lambda clicks: bool(clicks.mean() < _MAX_CLICK_RATE), error="1 nearly everywhere"),
        ],
    )
    if schema.label_time is not None:
        columns[schema.label_time] = _click_times(frame[schema.label] == 1, frame[schema.time])
    if schema.explored is not None:
        columns[schema.explored] = pandera.Column(float, pandera.Check.isin([0, 1], error="neither 0 nor 1"))
    return pandera.DataFrameSchema(columns)


def _click_times(clicked: "pd.Series[bool]", time_s: "pd.Series[float]") -> pandera.Column:
    """A click without a time, or with a wrong one, would silently become a non-click."""
    return pandera.Column(
        float,
        [
            pandera.Check(lambda at_s: at_s.notna() | ~clicked, error="missing beside a click", ignore_na=False),
            pandera.Check(lambda at_s: at_s.isna() | (at_s >= time_s), error="before the impression", ignore_na=False),
        ],
        nullable=True,
    )


def _finite() -> pandera.Check:
    return pandera.Check(lambda values: values.abs() < float("inf"), error="infinite")


def _present() -> pandera.Check:
    return pandera.Check(
        lambda values: bool(values.isna().mean() <= _MAX_MISSING),
        error=f"missing in more than {_MAX_MISSING:.0%} of the rows",
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
    return f"the log cannot be trained on: {'; '.join(clauses)}. Repair the log, or take the column out of the schema"
