"""Says by Evidently which columns of a version's requests are not what they were in its training.

**A distance, not a p-value.** At thousands of rows a test finds differences that matter to nobody, and training is not
now: no two days are draws from the same urn. So Jensen-Shannon's distance is pinned for every column, which needs no
bins without zeros and ends at 0.83, and a threshold for each column by what is to be expected of it:

- what is tolerated, 0.1, which is Evidently's own default;
- what a part of the training differs from all of it: people in the evening are others than in the morning;
- what chance does to so few rows: the distance of two samples of one kind, squared and times eight, is about a
  chi-square with a degree for each bin but one, over the harmonic size. Requests of one user are alike, so the size of
  the sample is Kish's effective one, `n^2 / sum(n_u^2)` with `n_u` requests of user `u`: as if they were all the same
  (Kish, *Survey Sampling*, 1965).

Squares of distances add up. With this no column of a stationary stream drifts in 999 of 1,000 inspections. Not compared
are a column that follows the clock, as the hour of the day, for no hour of it is like a day; and one that the version
does not read, of which training did not note how much it moves.

**Numbers within training's range.** Evidently puts them into bins of one width between the least and the largest of
both sides, so one extreme row would move all edges, and distances with them. What lies beyond training's range counts
at its ends.
"""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import chi2

from perch.errors import PlatformError
from perch.signals.events import Row
from perch.signals.inspection import MISSING, ColumnDrift
from perch.workload.package import OTHER

os.environ.setdefault("DO_NOT_TRACK", "1")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what Evidently brings with it
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

METHOD: Final = "jensenshannon"
TOLERATED: Final = 0.1
FALSE_ALARMS: Final = 0.001
"""Inspections of a stationary stream in which any column drifts."""

FEWEST_ROWS: Final = 200
_FOLLOWS_THE_CLOCK: Final = 1.0  # PSI of a part of training against all of it
_FEWEST_VALUES: Final = 50
_MOST_VALUES: Final = 20  # of a number that Evidently takes for categories


class Drift(NamedTuple):
    """How the columns of a sample stand against training."""

    columns: list[ColumnDrift]
    report: str
    """Evidently's own, as a page of HTML."""


def drift(
    rows: Sequence[Row], users: Sequence[str | None], reference: pd.DataFrame, natural: Mapping[str, float]
) -> Drift | None:
    """Compare first rows with those of training; `None` where nothing can be compared.

    Args:
        rows: As the model was given them.
        users: Whose each row is; who is not known is taken for somebody else each time.
        reference: Columns of training, missing values as null; columns that only one side has are not compared.
        natural: PSI by which a part of training differs from all of it, by column that the version reads.

    Raises:
        PlatformError: Evidently fails.
    """
    compared = [
        name
        for name in map(str, reference)
        if any(name in row for row in rows) and natural.get(name, np.inf) <= _FOLLOWS_THE_CLOCK
    ]
    training, current = _both(reference[compared], rows)
    if len(rows) < FEWEST_ROWS or training.empty:
        return None
    alarm, whose = FALSE_ALARMS / training.shape[1], pd.Series(np.array(users, dtype=object))
    thresholds = {
        name: _threshold(
            training[name].dropna(), current[name].dropna(), natural[name.removesuffix(MISSING)], alarm, whose
        )
        for name in map(str, training)
    }
    try:
        distances, report = _distances(training, current, thresholds)
    except Exception as error:  # whatever it is, the sentence says what became of it
        cause = str(error).partition("\n")[0] or type(error).__name__
        raise PlatformError(f"Evidently cannot compare these requests with training: {cause}.") from error
    return Drift([ColumnDrift(name, distances[name], threshold) for name, threshold in thresholds.items()], report)


def _both(reference: pd.DataFrame, rows: Sequence[Row]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The columns in which there is something to compare, and whether they are missing where they ever are."""
    training, current = dict[str, pd.Series](), dict[str, pd.Series]()
    for name, was in reference.items():
        now = _values([row.get(str(name)) for row in rows], was)
        if min(was.notna().sum(), now.notna().sum()) >= _FEWEST_VALUES:
            training[str(name)], current[str(name)] = was, now
        if was.isna().any() or now.isna().any():
            training[f"{name}{MISSING}"], current[f"{name}{MISSING}"] = was.isna().map(str), now.isna().map(str)
    return pd.DataFrame(training), pd.DataFrame(current)


def _values(values: Sequence[float | str | None], was: pd.Series) -> pd.Series:
    """As the reference has them: numbers within its range, or the names that it has and one for all others."""
    if pd.api.types.is_numeric_dtype(was.dtype):
        numbers = pd.Series([value if isinstance(value, float) else np.nan for value in values], dtype=np.float64)
        return numbers.clip(was.min(), was.max())
    known = set(was.dropna())
    named = (value if value in known else OTHER for value in values)
    return pd.Series([one if value else None for one, value in zip(named, values, strict=True)], dtype=object)


def _threshold(was: pd.Series, now: pd.Series, natural: float, alarm: float, whose: pd.Series) -> float:
    size = _effective_size(whose[now.index])
    chance = float(chi2.isf(alarm, max(_bins(was, now) - 1, 1))) * (1 / len(was) + 1 / size)
    return float(np.sqrt(TOLERATED**2 + (natural + chance) / 8))


def _effective_size(whose: pd.Series) -> float:
    """So many rows of strangers tell as much as these."""
    of_one = whose.value_counts().to_numpy(np.float64)
    return float(len(whose) ** 2 / (np.square(of_one).sum() + whose.isna().sum()))


def _bins(was: pd.Series, now: pd.Series) -> int:
    """Into how many bins Evidently puts the values."""
    values = pd.concat([was, now])
    if pd.api.types.is_numeric_dtype(was.dtype) and was.nunique() > _MOST_VALUES:
        return len(np.histogram_bin_edges(values.to_numpy(), bins="sturges")) - 1
    return int(values.nunique())


def _distances(
    training: pd.DataFrame, current: pd.DataFrame, thresholds: Mapping[str, float]
) -> tuple[dict[str, float], str]:
    numbers = [name for name in training if pd.api.types.is_numeric_dtype(training[name].dtype)]
    names = [name for name in training if name not in numbers]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=names)
    preset = DataDriftPreset(columns=list(training), method=METHOD, per_column_threshold=dict(thresholds))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        snapshot = Report([preset]).run(
            Dataset.from_pandas(current, definition), Dataset.from_pandas(training, definition)
        )
        return dict(_found(snapshot.dict()["metrics"])), snapshot.get_html_str(as_iframe=False)


def _found(metrics: Sequence[Mapping[str, Mapping[str, object]]]) -> Iterator[tuple[str, float]]:
    for metric in metrics:
        if str(metric["config"]["type"]).endswith(":ValueDrift"):
            yield str(metric["config"]["column"]), float(metric["value"])  # type: ignore[arg-type]  # a number of numpy's
