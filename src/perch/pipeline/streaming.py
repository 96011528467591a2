"""Step 3 for a log that does not fit in memory: the same windows, tables and rows, with only chunks held at a time.

What grows with the log goes to files without a name, which are mapped, and gone when nobody maps them any more. Two
things are bounded by taking fewer rows, and never silently: an estimator that holds what it learns from is given all
clicks and as many other rows as there is room for, which the scorer divides out of the odds as it always does; and
models are compared on as many evaluation rows, drawn at random, as there is room for. The baseline learns from all rows
that it learns from in memory.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import DTypeLike, NDArray

from perch.errors import DataError
from perch.pipeline.features import (
    BASELINE_KIND,
    CHALLENGER_KIND,
    Bools,
    Prepared,
    TrainingInput,
    clicks_in_window,
    prepare,
    sampling,
)
from perch.pipeline.feed import Feed
from perch.pipeline.ingest import Ingested
from perch.pipeline.scan import Window, chunks, windows
from perch.pipeline.settings import PipelineSettings
from perch.pipeline.validate import validate, validate_parts
from perch.workload.features import FeatureColumns, Table, Transform
from perch.workload.model import estimator

_Rows = Iterator[tuple[pd.DataFrame, Bools]]

LIBRARIES_BYTES = 384 * 2**20
"""What does not grow with the log, measured: Python and its libraries, a chunk, the rows from which LightGBM finds its
bins. The rest of the bound is for rows."""

_EVALUATION_ROW_BYTES = 320
"""What an evaluation row takes, with its scores, losses and slices, while a model is judged; measured."""

_VALUE_BYTES = 32
"""What a value of the log takes at the peak of a training in memory: frame, sorted copy and features; measured."""

_LOWEST_KEEP_RATE = 0.005


_VALIDATED_ROWS = 250_000


def held(log: Ingested, settings: PipelineSettings) -> bool:
    """Whether training may hold a log in memory whole: it fits into the bound, or there is none."""
    needed = LIBRARIES_BYTES + log.rows * len(log.schema.columns) * _VALUE_BYTES
    return settings.memory_bytes is None or needed <= settings.memory_bytes


def validate_log(log: Ingested, settings: PipelineSettings, *, now_s: float) -> int:
    """Validate a log within the bound of memory, and return its clicks; raises as `perch.pipeline.validate` does.

    Where it does not fit, rows that came twice are found among 250,000 neighbours.
    """
    if held(log, settings):
        return validate(log.load(), log.schema, now_s=now_s).clicks
    return validate_parts(_numbered(chunks(log, rows=_VALIDATED_ROWS)), log.schema, now_s=now_s).clicks


def _numbered(parts: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Parts with an index that counts through them, by which a wrong row is named."""
    first = 0
    for part in parts:
        part.index = pd.RangeIndex(first, first + len(part))
        yield part
        first += len(part)


def prepare_log(
    log: Ingested,
    settings: PipelineSettings,
    *,
    scratch: Path,
    kinds: Sequence[str] = (BASELINE_KIND, CHALLENGER_KIND),
) -> Prepared:
    """Prepare a log in memory where it fits into the bound, else by `prepare_streaming`; raises as these do."""
    if held(log, settings):
        return prepare(log.load(), log.schema, settings, data_digest=log.digest, kinds=kinds)
    return prepare_streaming(log, settings, scratch=scratch, kinds=kinds)


def prepare_streaming(
    log: Ingested,
    settings: PipelineSettings,
    *,
    scratch: Path,
    kinds: Sequence[str] = (BASELINE_KIND, CHALLENGER_KIND),
) -> Prepared:
    """Make the inputs of each kind of model, as `prepare` does, within a bound of memory.

    Args:
        log: The ingested log.
        settings: How to train, and in what memory, from here to the end of the gates.
        scratch: Folder on a disk with room for the features of the training rows: 8 bytes a number.
        kinds: Kinds of model to prepare for.

    Raises:
        DataError: A window has no clicks, or no other rows; or all clicks together do not fit.
        ModelError: There is no kind of such a name.
    """
    cut = windows(log, settings)
    room_bytes = np.inf if settings.memory_bytes is None else max(0, settings.memory_bytes - LIBRARIES_BYTES)
    judged = min(1.0, room_bytes / 2 / _EVALUATION_ROW_BYTES / cut.evaluation.rows)
    columns = {kind: estimator(kind).columns(log.schema) for kind in kinds}
    rates = {
        read: min(
            _keep_rate(kind, read, cut.training, room_bytes / 2, settings) for kind in kinds if columns[kind] == read
        )
        for read in columns.values()
    }
    feed = Feed(log.schema)
    rows = partial(_rows, log, settings, feed)
    transforms = _transforms(rows(cut.history), list(rates), settings)
    made, clicked = _training(
        rows(cut.training), {read: (transforms[read], rate) for read, rate in rates.items()}, settings, scratch
    )
    evaluation, evaluation_clicked = _evaluation(rows(cut.evaluation), log, judged, settings)
    feed.check()
    return Prepared(
        log.schema,
        log.digest,
        {kind: made[read] for kind, read in columns.items()},
        clicked,
        evaluation,
        evaluation_clicked,
        training_sample=evaluation[:0],
        data_from_s=cut.oldest_s,
        data_to_s=cut.youngest_s,
        data_rows=cut.rows,
    )


def _keep_rate(
    kind: str, columns: FeatureColumns, training: Window, room_bytes: float, settings: PipelineSettings
) -> float:
    """The share of the other rows that a kind can hold beside all clicks."""
    row_bytes = estimator(kind).bytes_per_row(len(columns.features))
    if not row_bytes:
        return settings.keep_rate
    rate = (room_bytes / row_bytes - training.clicks) / (training.rows - training.clicks)
    if rate < _LOWEST_KEEP_RATE:
        raise DataError(
            f"a model of kind {kind} has no room for {training.clicks:,} clicks of {row_bytes} bytes and at least "
            f"{_LOWEST_KEEP_RATE:.1%} of the other rows in {room_bytes / 2**20:.0f} MiB: declare more memory, or "
            "train it on more machines"
        )
    return min(settings.keep_rate, rate)


def _rows(log: Ingested, settings: PipelineSettings, feed: Feed, window: Window) -> _Rows:
    """The rows of a window in parts, with what was clicked; the feed is told of them."""
    for frame in chunks(log, from_s=window.from_s, to_s=window.to_s):
        clicked = clicks_in_window(frame, log.schema, settings.attribution_window_s)
        feed.add(frame, clicked)
        yield frame, clicked


def _transforms(
    rows: _Rows, every: Sequence[FeatureColumns], settings: PipelineSettings
) -> dict[FeatureColumns, Transform]:
    tables = {columns: Table(columns, settings.features) for columns in every}
    for frame, clicked in rows:
        for table in tables.values():
            table.count(frame, clicked)
    return {columns: table.transform() for columns, table in tables.items()}


def _training(
    rows: _Rows,
    wanted: Mapping[FeatureColumns, tuple[Transform, float]],
    settings: PipelineSettings,
    scratch: Path,
) -> tuple[dict[FeatureColumns, TrainingInput], Bools]:
    """What models of each set of columns learn from, and the labels of the whole window."""
    drawing = sampling(settings)
    with ExitStack() as files:

        def spool(dtype: DTypeLike, width: int | None = None) -> _Spool:
            return _Spool(files.enter_context(tempfile.TemporaryFile(dir=scratch)), dtype, width)

        every = spool(np.bool_)
        values = {read: spool(np.float64, len(read.features)) for read in wanted}
        labels = {read: spool(np.bool_) for read in wanted}
        for frame, clicked in rows:
            drawn = drawing.random(len(frame))
            every.append(clicked)
            for read, (transform, rate) in wanted.items():
                kept = clicked | (drawn < rate)
                values[read].append(transform.transform_frame(frame[kept]).values)
                labels[read].append(clicked[kept])
        made = {
            read: TrainingInput(transform, values[read].array(), labels[read].array(), rate)
            for read, (transform, rate) in wanted.items()
        }
        return made, every.array()


def _evaluation(rows: _Rows, log: Ingested, share: float, settings: PipelineSettings) -> tuple[pd.DataFrame, Bools]:
    """A share of the evaluation window's rows, in the order of time."""
    drawing = np.random.default_rng([settings.seed, 2])
    text = log.text_columns()
    coded = pa.dictionary(pa.int32(), pa.string())
    layout = pa.schema([(name, coded if name in text else pa.float64()) for name in log.schema.columns])

    def parts() -> Iterator[pa.Table]:
        for frame, _ in rows:
            drawn = frame if share >= 1 else frame[drawing.random(len(frame)) < share]
            yield pa.Table.from_pandas(drawn, layout, preserve_index=False)

    table = pa.concat_tables(parts()).unify_dictionaries()
    frame = table.to_pandas(split_blocks=True, self_destruct=True)
    if not frame[log.schema.time].is_monotonic_increasing:
        frame = frame.sort_values(log.schema.time, kind="stable", ignore_index=True)
    return frame, clicks_in_window(frame, log.schema, settings.attribution_window_s)


class _Spool:
    """Rows that are appended to a file without a name, and then read as a mapped array."""

    def __init__(self, file: IO[bytes], dtype: DTypeLike, width: int | None) -> None:
        self._file, self._dtype, self._width, self._rows = file, np.dtype(dtype), width, 0

    def append(self, rows: NDArray[Any]) -> None:
        try:
            self._file.write(np.ascontiguousarray(rows, self._dtype).data)
            self._file.flush()
        except OSError as error:
            raise DataError(f"the training rows cannot be kept ({error.strerror}): make room on the disk") from error
        self._rows += len(rows)

    def array(self) -> NDArray[Any]:
        """All rows. They stay mapped when the file is closed."""
        shape = (self._rows,) if self._width is None else (self._rows, self._width)
        return np.asarray(np.memmap(self._file, self._dtype, "r", shape=shape))
