"""Step 3: mature the labels, split by time, and count the feature tables.

Three windows follow each other: *history* (feature tables are counted), *training* and *evaluation*. Nothing is
ever shuffled across time, because the future would leak into the model and its figures would not hold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perch.errors import DataError
from perch.pipeline.feed import check_unbroken
from perch.pipeline.settings import PipelineSettings
from perch.workload.features import FeatureColumns, Floats, Table, Transform
from perch.workload.model import estimator
from perch.workload.schema import Schema

Bools = NDArray[np.bool_]

BASELINE_KIND = "logistic"
CHALLENGER_KIND = "lightgbm"

_SAMPLE = 500
"""Rows kept of what models learn from."""


@dataclass(frozen=True, slots=True)
class TrainingInput:
    """What one kind of model learns from."""

    transform: Transform
    values: Floats
    """Shape (sampled rows, features): all clicks of the training window, and a share of its other rows. May be a mapped
    file: who reads it in slices never holds it all."""

    clicked: Bools
    """Shape (sampled rows)."""

    keep_rate: float
    """Share of the non-clicks that are among them."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A log ready for training any number of models."""

    schema: Schema
    data_digest: str
    inputs: Mapping[str, TrainingInput]
    """By kind of model."""

    training_clicked: Bools
    evaluation: pd.DataFrame
    evaluation_clicked: Bools
    training_sample: pd.DataFrame
    """A few of the rows that models learn from, as they were logged: `spread` says which rows of the inputs they are.
    Empty where nobody kept any."""

    data_from_s: float
    """Time of the oldest row that is used, as the log has it."""

    data_to_s: float
    """Time of the youngest one."""

    data_rows: int
    """Rows that are used: those whose label can no longer change."""


def spread(rows: int, sample: int) -> NDArray[np.intp]:
    """The rows, of `rows`, that a sample of so many consists of: evenly spread over all of them."""
    return np.linspace(0, rows, sample, endpoint=False).astype(np.intp)


def typical(prepared: Prepared, most: int) -> pd.DataFrame:
    """The rows of the evaluation window, or as many of them that are evenly spread, in the order of time.

    Of randomly shown ads only, where the log knows them: they are like the candidates that serving is asked about.
    """
    frame = prepared.evaluation
    explored = prepared.schema.explored
    if explored is not None and (frame[explored] == 1).any():
        frame = frame[frame[explored] == 1]
    return frame.iloc[spread(len(frame), min(len(frame), most))]


def prepare(
    frame: pd.DataFrame,
    schema: Schema,
    settings: PipelineSettings,
    *,
    data_digest: str,
    kinds: Sequence[str] = (BASELINE_KIND, CHALLENGER_KIND),
    onto: Mapping[str, Transform] | None = None,
) -> Prepared:
    """Make the inputs of each kind of model; kinds that read the same columns share them.

    Args:
        frame: The log.
        schema: Names and roles of its columns.
        settings: How to train.
        data_digest: The log's sha256.
        kinds: Kinds of model to prepare for.
        onto: Feature tables of earlier rows, by kind, on which to go on counting.

    Raises:
        DataError: A window has no clicks, or no other rows, to learn from or to judge by; or the feed was broken.
        ModelError: There is no kind of such a name.
    """
    frame, clicked = mature(frame, schema, settings.attribution_window_s)
    check_unbroken(frame, clicked, schema)
    history, training, evaluation = _windows(frame[schema.time].to_numpy(), settings)
    for name, window in (("history", history), ("training", training), ("evaluation", evaluation)):
        check_clicks(name, len(clicked[window]), int(clicked[window].sum()))
    drawn = sampling(settings).random(training.stop - training.start)
    kept = clicked[training] | (drawn < settings.keep_rate)
    sampled, sampled_clicked = frame[training][kept], clicked[training][kept]
    made: dict[FeatureColumns, TrainingInput] = {}
    inputs = {}
    for kind in kinds:
        begun = (onto or {}).get(kind)
        columns = begun.columns if begun is not None else estimator(kind).columns(schema)
        if columns not in made:
            table = Table(columns, settings.features) if begun is None else Table.of(begun)
            table.count(frame[history], clicked[history])
            transform = table.transform()
            matrix = transform.transform_frame(sampled)
            made[columns] = TrainingInput(transform, matrix.values, sampled_clicked, settings.keep_rate)
        inputs[kind] = made[columns]
    time_s = frame[schema.time].to_numpy()
    return Prepared(
        schema,
        data_digest,
        inputs,
        clicked[training],
        frame[evaluation],
        clicked[evaluation],
        training_sample=sampled.iloc[spread(len(sampled), min(_SAMPLE, len(sampled)))],
        data_from_s=float(time_s[0]),
        data_to_s=float(time_s[-1]),
        data_rows=len(frame),
    )


def sampling(settings: PipelineSettings) -> np.random.Generator:
    """Draws a number for each training row in turn. A row without a click is kept where it is below the keep rate."""
    return np.random.default_rng([settings.seed, 1])


def mature(frame: pd.DataFrame, schema: Schema, window_s: float) -> tuple[pd.DataFrame, Bools]:
    """The rows whose label can no longer change, in the order of time, and whether each was clicked in the window.

    Raises:
        DataError: All rows are too young, or most clicks come after the window.
    """
    frame = frame.sort_values(schema.time, kind="stable", ignore_index=True)
    clicked = clicks_in_window(frame, schema, window_s)
    if schema.label_time is None:
        return frame, clicked
    time_s = frame[schema.time].to_numpy()
    old_enough = int(np.searchsorted(time_s, time_s[-1] - window_s, side="right"))
    check_matured(old_enough, int((frame[schema.label] == 1).sum()), int(clicked.sum()), schema, window_s)
    return frame[:old_enough], clicked[:old_enough]


def clicks_in_window(frame: pd.DataFrame, schema: Schema, window_s: float) -> Bools:
    """Which rows were clicked within the attribution window. They may be younger than it, and be clicked yet."""
    clicked = frame[schema.label].to_numpy() == 1
    if schema.label_time is None:
        return np.asarray(clicked)
    return np.asarray(clicked & (frame[schema.label_time].to_numpy() - frame[schema.time].to_numpy() <= window_s))


def check_matured(rows: int, clicks: int, in_window: int, schema: Schema, window_s: float) -> None:
    """Check that some rows are old enough, and that clicks come within the window; raises `DataError` if not."""
    if not rows:
        raise DataError(
            f"every row is younger than the attribution window of {window_s / 3600:.1f} h: use a longer log, "
            f"with {schema.time} in seconds"
        )
    if in_window < clicks / 2:
        raise DataError(
            f"of {clicks:,} clicks only {in_window:,} come within the attribution window of {window_s:,g} s: give "
            f"{schema.time} and {schema.label_time} in seconds, or declare a longer attributionWindowS"
        )


def check_clicks(name: str, rows: int, clicks: int) -> None:
    """Check that a window has clicks and other rows; raises `DataError` if not."""
    if not 0 < clicks < rows:
        raise DataError(f"the {name} window ({rows} rows) holds no clicks, or nothing else: use a longer log")


def _windows(time_s: Floats, settings: PipelineSettings) -> tuple[slice, slice, slice]:
    """Rows of equal time stay together, so that no window knows anything of the next one."""
    shares = [settings.history_share, 1 - settings.evaluation_share]
    first, second = (int(cut) for cut in np.searchsorted(time_s, time_s[[int(len(time_s) * s) for s in shares]]))
    return slice(0, first), slice(first, second), slice(second, len(time_s))
