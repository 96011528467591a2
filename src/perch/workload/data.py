"""How click logs are read: the published layouts of three data sets, and our own, in chunks of bounded memory.

Every reader yields frames with the columns of its schema: numbers as float64 with NaN, text as strings with NaN.
Columns that the schema does not name are dropped.
"""

import gzip
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from perch.errors import DataError
from perch.workload.schema import AVAZU, CLICK_LOG, CRITEO, OPEN_BANDIT, Schema

Frames = Iterator[pd.DataFrame]

_TEXT = pd.StringDtype(na_value=np.nan)


@dataclass(frozen=True, slots=True)
class LogFormat:
    """A layout that `read` understands."""

    schema: Schema
    read: Callable[[Path, int], Frames]
    """Reads a path in chunks of at most so many rows."""


def log_format(name: str) -> LogFormat:
    """The layout of a name. Raises `DataError` when there is none."""
    if name not in FORMATS:
        raise DataError(f"there is no log format {name!r}: choose one of {', '.join(FORMATS)}")
    return FORMATS[name]


def read(path: Path, format_name: str, *, chunk_rows: int = 50_000) -> Frames:
    """Read a click log in chunks, in the order of time as far as the log has one.

    Args:
        path: A file; for `open-bandit` also a folder of `*.csv` and `*.csv.gz` files, which are merged by time.
        format_name: One of `FORMATS`.
        chunk_rows: Rows in a chunk; memory grows with it, not with the log.

    Raises:
        DataError: The log is missing, empty, of another layout, or has a value that cannot be read.
    """
    layout = log_format(format_name)
    if not path.exists():
        raise DataError(f"{path} does not exist: name a click log that does (--data, or spec.training.data)")
    rows = 0
    for frame in layout.read(path, chunk_rows):
        rows += len(frame)
        yield _typed(frame, layout.schema)
    if not rows:
        raise DataError(f"{path} has no rows: name a {format_name} log with at least one day of impressions")


def _typed(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    numbers = _numbers(schema)
    return pd.DataFrame({name: _column(frame[name], number=name in numbers) for name in schema.columns})


def _column(values: pd.Series, *, number: bool) -> pd.Series:
    try:
        return values.astype(np.float64 if number else _TEXT)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"the log's column {values.name} is of the wrong type ({error}): numbers must be stored as numbers"
        ) from error


def _numbers(schema: Schema) -> set[str | None]:
    """The columns that hold numbers; the others hold text."""
    below = {part.column for part in schema.slices if part.below is not None}
    return {*schema.numeric, schema.label, schema.time, schema.label_time, schema.explored, *below}


def _parquet(path: Path, chunk_rows: int) -> Frames:
    numbers = _numbers(CLICK_LOG)
    try:
        with pq.ParquetFile(path, pre_buffer=False) as source:  # else it keeps all that it has read until the end
            _check_columns(path, source.schema_arrow.names, CLICK_LOG.columns)
            for batch in source.iter_batches(chunk_rows, columns=list(CLICK_LOG.columns)):
                fields = [(field.name, field.type if field.name in numbers else pa.string()) for field in batch.schema]
                # pandas would write the whole numbers of a chunk with a null in it as 7.0, those of another one as 7
                yield pa.Table.from_batches([batch]).cast(pa.schema(fields)).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file ({error}): name a log written by Perch") from error


def _criteo(path: Path, chunk_rows: int) -> Frames:
    names = ["click", *CRITEO.numeric, *CRITEO.categorical]
    for frame in _csv(path, chunk_rows, names, separator="\t", header=False):
        where = _Where(path, header_lines=0)
        numbers = {name: where.numbers(frame[name]) for name in ("click", *CRITEO.numeric)}
        yield frame.assign(**numbers, time=frame.index.to_numpy(np.float64))


def _avazu(path: Path, chunk_rows: int) -> Frames:
    needed = ["click", "hour", *AVAZU.categorical]
    for frame in _csv(path, chunk_rows, needed):
        where = _Where(path, header_lines=1)
        time = where.times(frame["hour"], "%y%m%d%H")
        yield frame.assign(click=where.numbers(frame["click"]), time=time, hour=_hour(time))


def _open_bandit(path: Path, chunk_rows: int) -> Frames:
    if not path.is_dir():
        return _open_bandit_file(path, chunk_rows)
    files = sorted([*path.glob("*.csv"), *path.glob("*.csv.gz")])
    files = [file for file in files if not file.name.startswith("item")]  # the ads' own features lie beside the log
    if not files:
        raise DataError(f"{path} holds no *.csv or *.csv.gz file: name the folder or file of an Open Bandit log")
    return _merged([_open_bandit_file(file, chunk_rows // len(files) + 1) for file in files])


def _open_bandit_file(path: Path, chunk_rows: int) -> Frames:
    needed = ["timestamp", "item_id", "position", "click", *(f"user_feature_{i}" for i in range(4))]
    campaign = path.name.partition(".")[0].rpartition("-")[2]
    for frame in _csv(path, chunk_rows, needed):
        where = _Where(path, header_lines=1)
        time = where.times(frame["timestamp"], "ISO8601")
        yield frame.assign(
            time=time,
            hour=_hour(time),
            click=where.numbers(frame["click"]),
            campaign=campaign,
            ad_id=campaign + "-" + frame["item_id"],  # each campaign numbers its own ads from 0
            affinity=_affinity(frame, where),
        )


def _affinity(frame: pd.DataFrame, where: "_Where") -> pd.Series:
    """The user's affinity with the ad that was shown; the log has a column for each ad that might have been."""
    affinity = pd.Series(np.nan, frame.index)
    for item, rows in frame.groupby("item_id").groups.items():
        name = f"user-item_affinity_{item}"
        if name in frame:
            affinity.loc[rows] = where.numbers(frame.loc[rows, name])
    return affinity


def _merged(sources: list[Frames]) -> Frames:
    """Merge logs that are each in the order of time, holding one chunk of each."""
    heads = [(frame, source) for source in sources if (frame := next(source, None)) is not None]
    while heads:
        until = min(frame["time"].iloc[-1] for frame, _ in heads)
        due = [frame[frame["time"] <= until] for frame, _ in heads]
        yield pd.concat([frame for frame in due if len(frame)]).sort_values("time", kind="stable")
        rest = [(frame[frame["time"] > until], source) for frame, source in heads]
        refilled = [(frame if len(frame) else next(source, None), source) for frame, source in rest]
        heads = [(frame, source) for frame, source in refilled if frame is not None]


def _lines(path: Path) -> TextIO:
    """The same text, to look at the first line of each chunk."""
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")


def _csv(path: Path, chunk_rows: int, needed: list[str], *, separator: str = ",", header: bool = True) -> Frames:
    """Chunks of a file's raw text, indexed by the row in the file. Without a header `needed` names the columns."""
    try:
        with (
            _lines(path) as lines,
            pd.read_csv(
                path,
                sep=separator,
                header=0 if header else None,
                dtype=str,
                keep_default_na=False,
                na_values=[""],
                chunksize=chunk_rows,
                compression="gzip" if path.suffix == ".gz" else None,
            ) as reader,
        ):
            deque(islice(lines, header), maxlen=0)
            for frame in reader:
                first, rest = next(lines, ""), islice(lines, max(len(frame) - 1, 0))
                if '"' not in first and first.count(separator) >= len(frame.columns):  # pandas loses them in silence
                    line = int(frame.index[0]) + 1 + header
                    raise DataError(f"{path} has too many fields in line {line}: repair or remove that line")
                deque(rest, maxlen=0)
                if not isinstance(frame.index, pd.RangeIndex):  # pandas takes surplus fields for an index
                    raise DataError(f"{path} has rows with more fields than its header: repair or remove them")
                if not header and len(frame.columns) == len(needed):
                    frame.columns = pd.Index(needed)
                _check_columns(path, list(frame.columns), needed)
                yield frame
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path} is empty: name a log with at least one day of impressions") from error
    except (gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"{path} is not a complete gzip file ({error}): fetch it again, or drop the .gz") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason}): name a {separator!r}-separated log") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise DataError(f"{path} cannot be read ({str(error).strip()}): repair or remove that line") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}): name a readable log") from error


def _check_columns(path: Path, found: list[str], needed: list[str] | tuple[str, ...]) -> None:
    missing = [name for name in needed if name not in found]
    if missing:
        unexpected = [str(name) for name in found if name not in needed]
        others = f", but {_some(unexpected)}" if unexpected else ""
        raise DataError(
            f"{path} has no column {_some(missing)}{others}: "
            "name a log of this format, or the log's own (--format, or spec.training.format)"
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


@dataclass(frozen=True, slots=True)
class _Where:
    """Turns text into values, and says where it cannot."""

    path: Path
    header_lines: int

    def numbers(self, text: pd.Series) -> pd.Series:
        return self._checked(text, pd.to_numeric(text, errors="coerce").astype(np.float64), "a number")

    def times(self, text: pd.Series, layout: str) -> pd.Series:
        moments = pd.to_datetime(text, format=layout, utc=True, errors="coerce")
        seconds = (moments - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
        self._present(text)
        return self._checked(text, seconds, "a time")

    def _present(self, text: pd.Series) -> None:
        if text.isna().any():
            raise DataError(f"{self.path}, line {self._line(text.isna())}: {text.name} is missing: remove the line")

    def _checked(self, text: pd.Series, values: pd.Series, wanted: str) -> pd.Series:
        bad = values.isna() & text.notna()
        if bad.any():
            raise DataError(
                f"{self.path}, line {self._line(bad)}: {text.name} is {text[bad].iloc[0]!r}, "
                f"which is not {wanted}: repair or remove the line"
            )
        return values

    def _line(self, bad: pd.Series) -> int:
        """Line of the first bad value; the index counts a file's rows from 0."""
        return int(bad.index[bad][0]) + 1 + self.header_lines


def _hour(time_s: pd.Series) -> pd.Series:
    return time_s % 86_400 / 3_600


FORMATS = {
    "open-bandit": LogFormat(OPEN_BANDIT, _open_bandit),
    "criteo": LogFormat(CRITEO, _criteo),
    "avazu": LogFormat(AVAZU, _avazu),
    "parquet": LogFormat(CLICK_LOG, _parquet),
}
"""The layouts by the name that `--format` takes."""
