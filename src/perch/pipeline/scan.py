"""A log that is larger than memory: read in chunks as often as needed, and cut by time without being sorted.

Chunks are as long as the log's row groups, and a row group that lies outside the asked times is not read. So a log in
the order of time, as most are, is read about once for all its windows together.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from perch.pipeline.features import check_clicks, check_matured, clicks_in_window
from perch.pipeline.ingest import Ingested
from perch.pipeline.settings import PipelineSettings
from perch.workload.features import Floats
from perch.workload.schema import Schema

CHUNK_ROWS = 50_000
_DIGIT_BITS = 16


@dataclass(frozen=True, slots=True)
class Window:
    """The rows of `from_s <= time < to_s`, and how many there are of them."""

    from_s: float
    to_s: float
    rows: int
    clicks: int


@dataclass(frozen=True, slots=True)
class Windows:
    """How a log is divided; the same rows as those of `perch.pipeline.features.prepare`."""

    history: Window
    training: Window
    evaluation: Window
    oldest_s: float
    """Time of the first row that is used."""

    youngest_s: float
    """Time of the last one."""

    @property
    def rows(self) -> int:
        """Rows that are used: those whose label can no longer change."""
        return self.history.rows + self.training.rows + self.evaluation.rows


def chunks(
    log: Ingested,
    columns: Sequence[str] | None = None,
    *,
    from_s: float = -np.inf,
    to_s: float = np.inf,
    groups: Sequence[int] | None = None,
    rows: int = CHUNK_ROWS,
) -> Iterator[pd.DataFrame]:
    """The rows of `from_s <= time < to_s`, in the order of the file, at most `rows` at a time.

    Text columns are categorical, each chunk with categories of its own. With `groups`, only rows of these row groups.
    """
    text = log.text_columns()
    with pq.ParquetFile(log.path, read_dictionary=text, pre_buffer=False) as file:  # else it keeps all that it has read
        if groups is None:
            groups = _meeting(file, log.schema.time, from_s, to_s)
        for batch in file.iter_batches(rows, row_groups=groups, columns=columns and list(columns)):
            frame = batch.to_pandas()
            inside = frame[log.schema.time].between(from_s, to_s, inclusive="left")
            if inside.any():
                yield frame if inside.all() else frame[inside]


def row_groups(log: Ingested, window: Window) -> list[int]:
    """The row groups of a log that may hold rows of a window."""
    with pq.ParquetFile(log.path) as file:
        return _meeting(file, log.schema.time, window.from_s, window.to_s)


def windows(log: Ingested, settings: PipelineSettings) -> Windows:
    """Divide a log as `prepare` does, by a few passes over the columns of times and clicks.

    Raises:
        DataError: All rows are too young, most clicks come too late, or a window has no clicks or nothing else.
    """
    schema, window_s = log.schema, settings.attribution_window_s
    young = _Tally(log, -np.inf, np.inf, window_s)
    last_s = young.latest_s if schema.label_time is None else young.latest_s - window_s

    def times() -> Iterator[Floats]:
        for frame in chunks(log, [schema.time], to_s=np.nextafter(last_s, np.inf)):
            yield frame[schema.time].to_numpy()

    rows = sum(map(len, times()))
    check_matured(rows, young.labelled, young.clicks, schema, window_s)
    ranks = [int(rows * share) for share in (settings.history_share, 1 - settings.evaluation_share)]
    cuts_s = [-np.inf, *(ranked(times, rank) for rank in ranks), np.nextafter(last_s, np.inf)]
    tallies = [_Tally(log, start_s, end_s, window_s) for start_s, end_s in pairwise(cuts_s)]
    for name, tally in zip(("history", "training", "evaluation"), tallies, strict=True):
        check_clicks(name, tally.rows, tally.clicks)
    history, training, evaluation = (tally.window() for tally in tallies)
    return Windows(history, training, evaluation, tallies[0].earliest_s, tallies[-1].latest_s)


def ranked(parts: Callable[[], Iterator[Floats]], rank: int) -> float:
    """The value that has `rank` values before it when all are sorted, by a radix selection in constant memory.

    A float's bits, read as a whole number with the sign turned around, sort as the floats do. Each pass counts by the
    next 16 bits of those values whose higher bits are known to be right.
    """
    known = np.uint64(0)
    for shift in range(64 - _DIGIT_BITS, -1, -_DIGIT_BITS):
        counts = np.zeros(1 << _DIGIT_BITS, np.int64)
        for part in parts():
            keys = _sortable(part)
            same = keys >> np.uint64(shift) >> np.uint64(_DIGIT_BITS) == known
            digits = keys[same] >> np.uint64(shift) & np.uint64((1 << _DIGIT_BITS) - 1)
            counts += np.bincount(digits.astype(np.intp), minlength=len(counts))
        below = np.cumsum(counts)
        digit = int(np.searchsorted(below, rank, side="right"))
        rank -= int(below[digit] - counts[digit])
        known = known << np.uint64(_DIGIT_BITS) | np.uint64(digit)
    return float(_floats(np.array([known]))[0])


_SIGN = np.uint64(1 << 63)


def _sortable(values: Floats) -> NDArray[np.uint64]:
    bits = np.ascontiguousarray(values + 0.0).view(np.uint64)  # -0.0 becomes 0.0, to which it is equal
    return np.asarray(np.where(bits & _SIGN, ~bits, bits | _SIGN))


def _floats(keys: NDArray[np.uint64]) -> Floats:
    return np.where(keys & _SIGN, keys & ~_SIGN, ~keys).view(np.float64)


class _Tally:
    """What is counted of the rows between two times."""

    def __init__(self, log: Ingested, from_s: float, to_s: float, window_s: float) -> None:
        self.from_s, self.to_s = from_s, to_s
        self.earliest_s, self.latest_s = np.inf, -np.inf
        self.rows = self.labelled = self.clicks = 0
        for frame in chunks(log, _told(log.schema), from_s=from_s, to_s=to_s):
            self.earliest_s = min(self.earliest_s, float(frame[log.schema.time].min()))
            self.latest_s = max(self.latest_s, float(frame[log.schema.time].max()))
            self.rows += len(frame)
            self.labelled += int((frame[log.schema.label] == 1).sum())
            self.clicks += int(clicks_in_window(frame, log.schema, window_s).sum())

    def window(self) -> Window:
        return Window(self.from_s, self.to_s, self.rows, self.clicks)


def _told(schema: Schema) -> list[str]:
    """The columns that say when a row was shown and whether it was clicked."""
    return [schema.time, schema.label, *([schema.label_time] if schema.label_time else [])]


def _meeting(file: pq.ParquetFile, time: str, from_s: float, to_s: float) -> list[int]:
    column = file.schema_arrow.get_field_index(time)
    facts = [file.metadata.row_group(group).column(column).statistics for group in range(file.num_row_groups)]
    return [
        group
        for group, known in enumerate(facts)
        if known is None or not known.has_min_max or (known.max >= from_s and known.min < to_s)
    ]
