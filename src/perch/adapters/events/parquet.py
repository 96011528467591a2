"""Writes events as a Parquet file: what was predicted, what came of it, and a column for each input that was kept.

The columns are those of `workload.schema.CLICK_LOG` as far as a service can know them. A file has one set of columns,
and which inputs there are, and of which type, is known when the last event was read. So events wait in a temporary
file, and memory stays bounded.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from perch.errors import DataError
from perch.signals.events import CLICK, Kept

_FIXED: Final = {
    "time": pa.float64(),
    "click": pa.float64(),
    "click_time": pa.float64(),
    "value": pa.float64(),
    "request_id": pa.string(),
    "model": pa.string(),
    "version": pa.string(),
    "arm": pa.string(),
    "score": pa.float64(),
    "rows": pa.int64(),
    "shown": pa.int64(),
    "user": pa.string(),
}

_page = msgspec.json.Decoder(list[Kept])


def write_parquet(path: Path, pages: Iterable[list[Kept]], *, only_complete: bool) -> int:
    """Write events, and return how many; the file appears whole or not at all.

    Args:
        path: Where the file goes; what stands there is replaced.
        pages: The events.
        only_complete: Leave out those whose inputs were not kept.

    Raises:
        DataError: there is nothing to be written, or it cannot be written there.
    """
    draft = path.with_name(f".{path.name}.tmp")
    try:
        with tempfile.TemporaryFile() as waiting:
            types = _store(waiting, pages, only_complete=only_complete)
            events = _write(draft, waiting, pa.schema({**types, **_FIXED}))
        draft.replace(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}): name another file with --to") from None
    finally:
        draft.unlink(missing_ok=True)
    return events


def _store(waiting: IO[bytes], pages: Iterable[list[Kept]], *, only_complete: bool) -> Mapping[str, pa.DataType]:
    """Put events aside, and learn the types of their inputs: numbers, or text where one value is text."""
    types: dict[str, pa.DataType] = {}
    events = 0
    for page in pages:
        kept = [one for one in page if one.prediction.features is not None or not only_complete]
        for one in kept:
            for name, value in (one.prediction.features or {}).items():
                types[name] = _wider(types.get(name, pa.null()), value)
        waiting.write(msgspec.json.encode(kept) + b"\n")
        events += len(kept)
    if not events:
        what = "with inputs " if only_complete else ""
        raise DataError(f"there are no events {what}in that time: name another one with --since and --until")
    return types


def _wider(known: pa.DataType, value: float | str | None) -> pa.DataType:
    if isinstance(value, str):
        return pa.string()
    return pa.float64() if value is not None and known == pa.null() else known


def _write(draft: Path, waiting: IO[bytes], schema: pa.Schema) -> int:
    waiting.seek(0)
    events = 0
    with pq.ParquetWriter(draft, schema) as writer:
        for line in waiting:
            rows = list(_rows(_page.decode(line), schema))
            writer.write_table(pa.Table.from_pylist(rows, schema))
            events += len(rows)
    return events


def _rows(page: Iterable[Kept], schema: pa.Schema) -> Iterator[dict[str, Any]]:
    texts = {field.name for field in schema if field.type == pa.string()}
    for one in page:
        told, click = one.prediction, next((o for o in one.outcomes if o.source == CLICK and o.label), None)
        features = (told.features or {}).items()
        yield {
            **{name: value if value is None or name not in texts else str(value) for name, value in features},
            "time": told.time_s,
            "click": float(click is not None),
            "click_time": click.time_s if click else None,
            "value": sum(outcome.value for outcome in one.outcomes),
            **{name: getattr(told, name) for name in list(_FIXED)[4:]},
        }
