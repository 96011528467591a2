"""Step 1: a log of any known format becomes one Parquet file with a digest."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from perch.errors import PlatformError
from perch.pipeline.source import Source, Told, fetched
from perch.workload.data import log_format, read
from perch.workload.schema import Schema


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
        frame: pd.DataFrame = pq.read_table(self.path, read_dictionary=self.text_columns()).to_pandas()
        return frame

    def text_columns(self) -> list[str]:
        """The columns that hold text, for `read_dictionary` of pyarrow."""
        return [field.name for field in pq.read_schema(self.path) if pa.types.is_string(field.type)]


def ingest(source: Source, into: Path, told: Told | None = None) -> Ingested:
    """Stream a log into `into/log.parquet`; memory does not grow with the log.

    Args:
        source: Where the log is. From another machine it is fetched into `into` first, whole.
        into: Folder for the file; created when it does not exist.
        told: Told how much has been fetched.

    Raises:
        DataError: The log cannot be read. Nothing is written then.
        PlatformError: The log cannot be fetched, or does not fit into `into`. Nothing is written then, either.
    """
    schema = log_format(source.format).schema
    path, draft = into / "log.parquet", into / f".log.parquet.{os.getpid()}"
    try:
        into.mkdir(parents=True, exist_ok=True)
        try:
            with fetched(source, into, told) as log:
                rows = _write(log, source.format, draft)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        with path.open("rb") as file:
            return Ingested(path, schema, rows, hashlib.file_digest(file, "sha256").hexdigest())
    except OSError as error:
        raise PlatformError(
            f"{into} cannot be written ({error.strerror or error}): make room for the log there, then try again"
        ) from error


def _write(log: Path, layout: str, draft: Path) -> int:
    writer, rows = None, 0
    try:
        for frame in read(log, layout):
            columns = pa.schema([(name, _arrow_type(frame[name])) for name in frame])
            writer = writer or pq.ParquetWriter(draft, columns)
            writer.write_table(pa.Table.from_pandas(frame, columns, preserve_index=False))
            rows += len(frame)
    finally:
        if writer is not None:
            writer.close()
    return rows


def _arrow_type(column: "pd.Series[float] | pd.Series[str]") -> pa.DataType:
    return pa.float64() if pd.api.types.is_float_dtype(column.dtype) else pa.string()
