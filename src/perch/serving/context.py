"""What the event of an answer tells beside its score: who was shown it, by which inputs, in which parts of slices.

Which row is shown is the model's choice, so shown rows of two versions differ where what they are asked does not. The
first row is nobody's choice. By it they are compared, as in `perch.serving.sketches`.

Beside the declared slices there is one of every model, `unseen`: which of the shown row's categories training had not
seen, so that a cold start is told by user, ad, or whatever it is that is new.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from perch.serving.scoring import Scores
from perch.signals.events import SHADOW, Features, Row
from perch.workload.features import Columns, Floats
from perch.workload.schema import Schema, Slice

_LONGEST_USER: Final = 128
_ALL: Final = 2**32
UNSEEN: Final = "unseen"
"""Name of the slice. Its parts: `none`, an input, two of them as `user_id+ad_id`, `several`."""

_MOST_NAMED: Final = 2
_COUNT: Final = "_log_count"  # of the transform's features, 0 without an impression
_MOST_SLICES: Final = 20  # in an event
_NUL: Final = "\0"  # not every database has a place for it


@dataclass(frozen=True, slots=True)
class Told:
    """Of one answer; `None` where nothing is to be told."""

    user: str | None = None
    features: Row | None = None
    first: Row | None = None
    slices: Mapping[str, str] | None = None
    asked: Row | None = None
    served: Features | None = None


class Context:
    """Reads it from the columns of a request."""

    def __init__(
        self,
        schema: Schema,
        *,
        features: Sequence[str] = (),
        user_column: str | None = None,
        features_share: float = 0.0,
    ) -> None:
        """Make a reader.

        Args:
            schema: Inputs and slices of the model. A sensitive slice is never told.
            features: Names of the numbers that the model reads, in the order of its matrix.
            user_column: Input that names the user; one that the model does not have names nobody.
            features_share: Share of the requests whose inputs are told; which these are is their ids' business, so that
                all versions tell of the same ones, and a copy is told with the live request.
        """
        self._features = features
        self._counts = {name.removesuffix(_COUNT): i for i, name in enumerate(features) if name.endswith(_COUNT)}
        self._user_column = user_column if user_column in schema.inputs else None
        self._slices = [one for one in schema.slices if one.column in schema.inputs and not one.sensitive]
        self._sampled = features_share * _ALL

    def of(self, request_id: str, arm: str, asked: Columns, scores: Scores, shown: int) -> Told:
        """What is told of a request; of a copy no shown row, for nobody saw it."""
        columns = asked if scores.given is None else scores.given
        user = columns[self._user_column][shown] if self._user_column else None
        is_sampled = crc32(request_id.encode()) < self._sampled
        is_copy = arm == SHADOW
        is_shown = is_sampled and not is_copy
        return Told(
            _user(user),
            _row(columns, shown) if is_shown else None,
            _row(columns, 0) if is_sampled and (shown or is_copy) else None,
            self._parts(columns, scores, shown) or None,
            _row(asked, shown) if is_shown and scores.given is not None else None,
            self._served(scores, shown) if is_shown else None,
        )

    def _parts(self, columns: Columns, scores: Scores, shown: int) -> dict[str, str]:
        parts = {one.name or one.column: _part(one, columns[one.column][shown]) for one in self._slices}
        if self._counts and scores.features is not None and len(parts) < _MOST_SLICES:
            parts.setdefault(UNSEEN, self._unseen(columns, scores.features, scores.unseen, shown))
        return parts

    def _unseen(self, columns: Columns, features: Floats, unseen: Iterable[str], shown: int) -> str:
        """Which categories of a row had no impression in training; `unseen` are those of any row, few or none."""
        found = [one for one in unseen if columns[one][shown] and features[shown, self._counts[one]] == 0.0]
        return "several" if len(found) > _MOST_NAMED else "+".join(found) or "none"

    def _served(self, scores: Scores, shown: int) -> Features | None:
        """The shown row of the matrix; JSON has no NaN, and says null."""
        if scores.features is None:
            return None
        return dict(zip(self._features, scores.features[shown].tolist(), strict=True))


def _row(columns: Columns, number: int) -> Row | None:
    row = {name: values[number] for name, values in columns.items()}
    return None if any(type(value) is str and _NUL in value for value in row.values()) else row


def _user(value: float | str | None) -> str | None:
    user = "" if value is None else str(value)
    return user if 0 < len(user) <= _LONGEST_USER and _NUL not in user else None


def _part(of: Slice, value: float | str | None) -> str:
    if of.below is None:
        return "" if value is None else str(value).replace(_NUL, "")
    return "true" if isinstance(value, float) and value < of.below else "false"
