"""What a model sees: one transform for training and for serving, equal to the last bit on both paths.

A categorical value is hashed into a table of impressions and clicks that were counted over a *history* window. That
window lies before the first training row, so a row's features never contain its own label and the serving path
recomputes them exactly. The model sees two numbers for each categorical column and cross: the smoothed log-odds of
a click, and the logarithm of the count, which says how much the first one is worth. Numbers pass as they are.

The hashing trick is Weinberger et al., *Feature Hashing for Large Scale Multitask Learning* (arXiv 0902.2206);
counts as features are described in Ling et al., *Model Ensemble for Click Prediction in Bing Search Ads* (2017).
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Columns = Mapping[str, Sequence[float | None] | Sequence[str | None]]
"""A batch of rows by column, all of one length: numbers or strings, `None` for a missing value."""

_MEMO_LIMIT = 20_000
_MEMO_LIMIT_CHARACTERS = 128
"""Longer values are hashed each time. So a column's memo stays below 20 MB whatever callers send."""


@dataclass(frozen=True, slots=True)
class FeatureSettings:
    """How categorical values become numbers."""

    bits: int = 18
    """The table has `2 ** bits` slots; values that share one are taken for the same."""

    prior_impressions: float = 100.0
    """Impressions at the log's mean click rate that are added to each slot, so that few clicks prove little."""


@dataclass(frozen=True, slots=True)
class FeatureColumns:
    """The columns that a transform reads, in the order of its features."""

    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    crosses: tuple[tuple[str, str], ...] = ()

    @property
    def features(self) -> list[str]:
        """Names of the features that are made of them, in the order of the matrix's columns."""
        return [name for name, _ in self.sources]

    @property
    def sources(self) -> list[tuple[str, tuple[str, ...]]]:
        """Each feature's name with the inputs that it is made of, in the same order."""
        counted = [*((name,) for name in self.categorical), *self.crosses]
        return [
            *((name, (name,)) for name in self.numeric),
            *(("_x_".join(parts) + "_log_odds", parts) for parts in counted),
            *(("_x_".join(parts) + "_log_count", parts) for parts in counted),
        ]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Model input for a batch, and what was odd about it."""

    values: Floats
    """Shape (rows, features)."""

    missing: dict[str, int]
    """Rows without a value, by column; columns without such rows are absent."""

    unseen: dict[str, int]
    """Rows with a category that the history had not seen, by column; columns without such rows are absent."""

    slots: NDArray[np.intp]
    """Slots of the feature table, of shape (categorical columns and crosses, rows)."""


class _Slots(dict[object, int]):
    """Value → slot of one column or cross, remembered, because traffic repeats its values."""

    __slots__ = ("_mask", "_missing", "_name")

    def __init__(self, name: str, mask: int, missing: int) -> None:
        super().__init__()
        self._name, self._mask, self._missing = name, mask, missing

    def __missing__(self, value: object) -> int:
        parts = value if isinstance(value, tuple) else (value,)
        slot = self._slot(parts)
        if sum(map(len, filter(None, parts))) <= _MEMO_LIMIT_CHARACTERS:
            if len(self) >= _MEMO_LIMIT:
                self.clear()
            self[value] = slot
        return slot

    def _slot(self, parts: tuple[str | None, ...]) -> int:
        if not all(parts):
            return self._missing
        text = "\x1f".join((self._name, *parts))  # type: ignore[arg-type]  # none is None
        return zlib.crc32(text.encode(errors="replace")) & self._mask


class Transform:
    """Turns columns into the numbers that a model reads. Immutable once made, apart from its memo of hashes."""

    def __init__(
        self,
        columns: FeatureColumns,
        settings: FeatureSettings,
        impressions: NDArray[np.int64],
        clicks: NDArray[np.int64],
    ) -> None:
        """Take a table over from a package; `fit` counts a new one.

        Args:
            columns: What to read.
            settings: How the table was counted.
            impressions: Impressions by slot. `2 ** settings.bits` hashed slots, then one for the missing value of
                each categorical column and cross.
            clicks: Clicks by slot, of the same shape.
        """
        self.columns, self.settings = columns, settings
        self.impressions, self.clicks = impressions, clicks
        self._slots = _slots(columns, settings)
        rate = (clicks.sum() + 1) / (impressions.sum() + 2)  # in (0, 1) also where nothing was clicked
        prior = settings.prior_impressions
        self.log_odds = np.log((clicks + prior * rate) / (impressions - clicks + prior * (1 - rate)))
        self._log_count = np.log1p(impressions)
        self._unseen = impressions == 0
        self._unseen[1 << settings.bits :] = False  # a missing value is counted as missing

    @classmethod
    def fit(
        cls, history: "pd.DataFrame", clicked: NDArray[np.bool_], columns: FeatureColumns, settings: FeatureSettings
    ) -> Self:
        """Count the table over the history's rows, all of which lie before the first training row."""
        table = Table(columns, settings)
        table.count(history, clicked)
        return cls(columns, settings, table.impressions, table.clicks)

    @property
    def names(self) -> list[str]:
        """Names of the features, in the order of the matrix's columns."""
        return self.columns.features

    def transform(self, columns: Columns) -> Matrix:
        """The serving path: no pandas, no object arrays. `columns` may hold more than is read."""
        rows = len(next(iter(columns.values())))
        numbers = np.array([columns[name] for name in self.columns.numeric], np.float64)
        keys: list[Iterable[object]] = [columns[name] for name in self.columns.categorical]
        keys += [zip(columns[a], columns[b], strict=True) for a, b in self.columns.crosses]
        slots = [list(map(memo.__getitem__, key)) for memo, key in zip(self._slots, keys, strict=True)]
        return self._matrix(
            numbers.reshape(len(self.columns.numeric), rows), np.array(slots, np.intp).reshape(len(slots), rows)
        )

    def transform_frame(self, frame: "pd.DataFrame") -> Matrix:
        """The training path: the same numbers for a whole log at once; each distinct value is hashed once."""
        slots = _frame_slots(frame, self.columns, self._slots)
        numbers = [frame[name].to_numpy(np.float64, na_value=np.nan) for name in self.columns.numeric]
        return self._matrix(np.array(numbers).reshape(len(numbers), len(frame)), slots)

    def _matrix(self, numbers: Floats, slots: NDArray[np.intp]) -> Matrix:
        values = np.concatenate([numbers, self.log_odds[slots], self._log_count[slots]])
        named = slots[: len(self.columns.categorical)]  # a cross is as missing or unseen as its parts
        missing = [*np.isnan(numbers).sum(axis=1).tolist(), *(named >> self.settings.bits > 0).sum(axis=1).tolist()]
        unseen = self._unseen[named].sum(axis=1).tolist()
        inputs = self.columns.numeric + self.columns.categorical
        return Matrix(
            values=np.ascontiguousarray(values.T),
            missing={name: count for name, count in zip(inputs, missing, strict=True) if count},
            unseen={name: count for name, count in zip(self.columns.categorical, unseen, strict=True) if count},
            slots=slots,
        )


class Table:
    """Impressions and clicks by slot, counted from as many frames as there are."""

    def __init__(self, columns: FeatureColumns, settings: FeatureSettings) -> None:
        """Begin with an empty table."""
        self._columns, self._settings, self._slots = columns, settings, _slots(columns, settings)
        size = (1 << settings.bits) + len(self._slots)
        self.impressions, self.clicks = np.zeros(size, np.int64), np.zeros(size, np.int64)

    @classmethod
    def of(cls, transform: Transform) -> Self:
        """A copy of a transform's table, to go on counting."""
        table = cls(transform.columns, transform.settings)
        table.impressions += transform.impressions
        table.clicks += transform.clicks
        return table

    def count(self, history: "pd.DataFrame", clicked: NDArray[np.bool_]) -> None:
        """Count further rows."""
        for column in _frame_slots(history, self._columns, self._slots):
            self.impressions += np.bincount(column, minlength=len(self.impressions))
            self.clicks += np.bincount(column[clicked], minlength=len(self.clicks))

    def transform(self) -> Transform:
        """What turns columns into numbers by this table, as it is now."""
        return Transform(self._columns, self._settings, self.impressions.copy(), self.clicks.copy())


def _slots(columns: FeatureColumns, settings: FeatureSettings) -> list[_Slots]:
    names = [*columns.categorical, *("_x_".join(pair) for pair in columns.crosses)]
    size = 1 << settings.bits
    return [_Slots(name, size - 1, size + i) for i, name in enumerate(names)]


def _frame_slots(frame: "pd.DataFrame", columns: FeatureColumns, memos: list[_Slots]) -> NDArray[np.intp]:
    """Slots of shape (columns and crosses, rows)."""
    names = dict.fromkeys((*columns.categorical, *(name for pair in columns.crosses for name in pair)))
    codes = {name: _codes(frame[name]) for name in names}
    keys = [codes[name] for name in columns.categorical]
    keys += [_crossed(codes[a], codes[b]) for a, b in columns.crosses]
    slots = np.empty((len(memos), len(frame)), np.intp)
    for row, memo, (index, values) in zip(slots, memos, keys, strict=True):
        row[:] = np.array([memo[value] for value in values], np.intp)[index]
    return slots


_Coded = tuple[NDArray[np.intp], list[object]]
"""Index into the distinct values, and these."""


def _codes(column: "pd.Series[str]") -> _Coded:
    codes, values = column.factorize()
    return codes, [*values, None]  # a missing value has code -1, which is the last one


def _crossed(first: _Coded, second: _Coded) -> _Coded:
    (a, a_values), (b, b_values) = first, second
    pairs, index = np.unique(a % len(a_values) * len(b_values) + b % len(b_values), return_inverse=True)
    values: list[object] = [
        (a_values[pair // len(b_values)], b_values[pair % len(b_values)]) for pair in pairs.tolist()
    ]
    return index, values
