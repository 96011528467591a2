"""Step 5, too: a few thousand rows of training, for Evidently to hold against what serving is asked.

They travel in the package, in a file that serving does not fetch. **Nobody's row is in it**: each column is sorted by
itself, so that what stands beside each other never belonged together; only values that many rows have are told, and of
other numbers the means of neighbours; and the user's id is left out, and every column that groups of people are told
apart by.
"""

import io
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from perch.pipeline.features import Prepared, typical
from perch.pipeline.settings import PipelineSettings
from perch.workload.features import Floats
from perch.workload.package import OTHER

_ROWS: Final = 2_000
_FEWEST_ROWS: Final = 200
_TOP: Final = 12
_COMMON_ROWS: Final = 20
"""Rows that a value has to have for it to be told; a category `_COMMON_SHARE` of them, too."""

_COMMON_SHARE: Final = 0.01


def reference(prepared: Prepared, settings: PipelineSettings) -> bytes | None:
    """Rows like those that the profile is counted of, as Parquet; equal rows give equal bytes.

    `None` where there are too few to hold anything against.
    """
    frame = typical(prepared, _ROWS)
    if len(frame) < _FEWEST_ROWS:
        return None
    schema = prepared.schema
    hidden = {settings.user_column, *(one.column for one in schema.slices if one.sensitive)}
    told = [name for name in schema.inputs if name not in hidden]
    columns = {name: _column(frame[name], is_number=name in schema.numeric) for name in told}
    table = pa.table({name: column for name, column in columns.items() if column is not None})
    out = io.BytesIO()
    parquet.write_table(table, out, compression="zstd")
    return out.getvalue()


def _column(values: pd.Series, *, is_number: bool) -> pa.Array | None:
    """The sorted values, missing ones last; `None` for a column of which there is nothing to tell."""
    if is_number:
        numbers = values.to_numpy(np.float64, na_value=np.nan)
        numbers = numbers[~np.isnan(numbers)]
        if 0 < len(numbers) < _COMMON_ROWS:
            return None
        missing = np.full(len(values) - len(numbers), np.nan)
        return pa.array(
            np.concatenate([_numbers(numbers) if len(numbers) else numbers, missing]), pa.float64(), from_pandas=True
        )
    known = values.astype(object)
    known = known[known.notna() & (known != "")]
    counts = known.value_counts()
    common = counts[counts >= max(_COMMON_ROWS, _COMMON_SHARE * len(values))]
    if not len(common):
        return None
    names = {name for _, name in sorted((-count, name) for name, count in common.items())[:_TOP]}
    told = sorted(name if name in names else OTHER for name in known)
    return pa.array([*told, *[None] * (len(values) - len(told))], pa.string())


def _numbers(known: Floats) -> Floats:
    """As many, sorted and distributed alike: what many rows have as it is, the others from means of neighbours."""
    values, counts = np.unique(known, return_counts=True)
    is_common = counts >= _COMMON_ROWS
    rare = np.repeat(values[~is_common], counts[~is_common])
    smooth = _smoothed(rare) if len(rare) >= _COMMON_ROWS else np.full(len(rare), known.mean())
    return np.sort(np.concatenate([np.repeat(values[is_common], counts[is_common]), smooth]))


def _smoothed(numbers: Floats) -> Floats:
    """What lies evenly between the means of twenty neighbours or more: the quantiles, and no row's own number."""
    groups = np.array_split(np.arange(len(numbers)), len(numbers) // _COMMON_ROWS)
    means = [numbers[group].mean() for group in groups]
    smooth: Floats = np.interp(np.arange(len(numbers)), [group.mean() for group in groups], means)
    return smooth
