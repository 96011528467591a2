"""What the event of an answer tells beside its score: who was shown it, by which inputs, in which parts of slices."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from perch.signals.events import SHADOW
from perch.workload.features import Columns
from perch.workload.schema import Schema, Slice

_LONGEST_USER: Final = 128
_ALL: Final = 2**32
_NUL: Final = "\0"  # not every database has a place for it


@dataclass(frozen=True, slots=True)
class Told:
    """Of one answer; `None` where nothing is to be told."""

    user: str | None = None
    features: Mapping[str, float | str | None] | None = None
    slices: Mapping[str, str] | None = None


class Context:
    """Reads it from the columns of a request."""

    def __init__(self, schema: Schema, *, user_column: str | None = None, features_share: float = 0.0) -> None:
        """Make a reader.

        Args:
            schema: Inputs and slices of the model. A sensitive slice is never told.
            user_column: Input that names the user; one that the model does not have names nobody.
            features_share: Share of the requests whose inputs are told; which these are is their ids' business, so that
                all versions tell of the same ones.
        """
        self._user_column = user_column if user_column in schema.inputs else None
        self._slices = [one for one in schema.slices if one.column in schema.inputs and not one.sensitive]
        self._sampled = features_share * _ALL

    def of(self, request_id: str, arm: str, columns: Columns, shown: int) -> Told:
        """What is told of the row that is shown."""
        user = columns[self._user_column][shown] if self._user_column else None
        is_sampled = arm != SHADOW and crc32(request_id.encode()) < self._sampled
        row = {name: values[shown] for name, values in columns.items()} if is_sampled else None
        return Told(
            _user(user),
            None if row is not None and any(type(v) is str and _NUL in v for v in row.values()) else row,
            {one.name or one.column: _part(one, columns[one.column][shown]) for one in self._slices} or None,
        )


def _user(value: float | str | None) -> str | None:
    user = "" if value is None else str(value)
    return user if 0 < len(user) <= _LONGEST_USER and _NUL not in user else None


def _part(of: Slice, value: float | str | None) -> str:
    if of.below is None:
        return "" if value is None else str(value).replace(_NUL, "")
    return "true" if isinstance(value, float) and value < of.below else "false"
