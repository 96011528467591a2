"""Step 1: a log of any known format becomes one Parquet file with a digest."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from perch.workload.data import log_format, read
from perch.workload.schema import Schema


@dataclass(frozen=True, slots=True)
class Source:
    """Where a click log is."""

    path: Path
    format: str
    """Name of its layout, one of `perch.workload.data.FORMATS`."""


@dataclass(frozen=True, slots=True)
class Ingested:
    """A log on disk, ready to be used."""

    path: Path
    schema: Schema
    rows: int
    digest: str
    """sha256 of the file, in hex: the version of the data."""

    def load(self) -> pd.DataFrame:
        """The whole log, in memory: unlike reading it in, training needs room that grows with the log.

        Text columns are categorical, which keeps them small.
        """
        text = [field.name for field in pq.read_schema(self.path) if pa.types.is_string(field.type)]
        frame: pd.DataFrame = pq.read_table(self.path, read_dictionary=text).to_pandas()
        return frame


def ingest(source: Source, into: Path) -> Ingested:
    """Stream a log into `into/log.parquet`; memory does not grow with the log.

    Raises:
        DataError: The log cannot be read. Nothing is written then.
    """
    schema = log_format(source.format).schema
    into.mkdir(parents=True, exist_ok=True)
    path, draft = into / "log.parquet", into / f".log.parquet.{os.getpid()}"
    try:
        rows = _write(source, draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    with path.open("rb") as file:
        return Ingested(path, schema, rows, hashlib.file_digest(file, "sha256").hexdigest())


def _write(source: Source, draft: Path) -> int:
    writer, rows = None, 0
    try:
        for frame in read(source.path, source.format):
            layout = pa.schema([(name, _arrow_type(frame[name])) for name in frame])
            writer = writer or pq.ParquetWriter(draft, layout)
            writer.write_table(pa.Table.from_pandas(frame, layout, preserve_index=False))
            rows += len(frame)
    finally:
        if writer is not None:
            writer.close()
    return rows


def _arrow_type(column: "pd.Series[float] | pd.Series[str]") -> pa.DataType:
    return pa.float64() if pd.api.types.is_float_dtype(column.dtype) else pa.string()
