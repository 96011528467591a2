"""Checks what a caller sent against the model's inputs, and turns rows into columns.

The checks look at each column once, with `set(map(type, ...))`: that costs a microsecond a column, where a validator
that looks at each value costs more than the rest of the request.
"""

from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus
from typing import TypeAlias

from perch.asgi import Refusal
from perch.workload.features import Columns
from perch.workload.schema import Schema

ROW_LIMIT = 4096

CATEGORY_LIMIT_CHARACTERS = 1000
"""No category is that long; a value that is was put into the wrong column."""

Value: TypeAlias = float | str | None
Row: TypeAlias = Mapping[str, Value]

_NUMBERS = frozenset({float, type(None)})
_STRINGS = frozenset({str, type(None)})


def bad_request(sentence: str) -> Refusal:
    """A request that cannot be understood."""
    return Refusal(HTTPStatus.BAD_REQUEST, sentence)


class Inputs:
    """The columns that a model reads, as a caller must send them."""

    def __init__(self, schema: Schema) -> None:
        self.names = schema.inputs
        self.numeric = frozenset(schema.numeric)
        self._types = {name: _NUMBERS if name in self.numeric else _STRINGS for name in self.names}

    def from_rows(self, rows: Sequence[Row], shared: Row | None = None) -> Columns:
        """Columns from rows, each of which has every column; those in `shared` hold for all rows.

        Raises:
            Refusal: 400, a column is unknown, missing, given twice, or has values of the wrong type.
        """
        self.check_count(len(rows))
        shared = shared or {}
        own = [name for name in self.names if name not in shared]
        self._check_names(shared, rows, own)
        count = len(rows)
        return self.check(
            {name: [shared[name]] * count if name in shared else [r[name] for r in rows] for name in self.names}
        )

    def check(self, columns: Mapping[str, list[Value]]) -> Columns:
        """The columns as they are, when their names, lengths, types and sizes are right.

        Raises:
            Refusal: 400, with the first column that is wrong.
        """
        self.check_names(columns)
        count = len(columns[self.names[0]])
        self.check_count(count)
        for name, values in columns.items():
            if len(values) != count:
                raise bad_request(
                    f"Column {name!r} has {len(values)} rows, {self.names[0]!r} has {count}; send as many."
                )
            if not self._types[name].issuperset(map(type, values)):
                raise self._wrong_type(name, values)
            if name not in self.numeric:
                _check_sizes(name, values)  # type: ignore[arg-type]  # strings, as was checked just now
        return columns  # type: ignore[return-value]  # checked just now

    def check_names(self, names: Collection[str]) -> None:
        """Refuse (400) names other than the model's, one of which may not come twice."""
        if set(names) != self._types.keys():
            raise self._wrong_names(names, "The request")
        if len(names) != len(self._types):
            twice = next(name for name in self.names if list(names).count(name) > 1)
            raise bad_request(f"The column {twice!r} is given twice; send it once.")

    def check_count(self, rows: int) -> None:
        """Refuse requests without rows (400), and with more than `ROW_LIMIT` (413)."""
        if rows == 0:
            raise bad_request("The request has no rows; send at least one.")
        if rows > ROW_LIMIT:
            sentence = f"The request has {rows:,} rows; send at most {ROW_LIMIT:,} at a time."
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, sentence)

    def _check_names(self, shared: Row, rows: Sequence[Row], own: list[str]) -> None:
        expected = set(own)
        for number, row in enumerate(rows):
            if row.keys() != expected:
                twice = sorted(row.keys() & shared.keys())
                if twice:
                    raise bad_request(
                        f"Column {twice[0]!r} is given both for row {number} and for all rows; send it once."
                    )
                raise self._wrong_names([*shared, *row], f"Row {number}")
        if not self._types.keys() >= shared.keys():
            raise self._wrong_names([*shared, *own], "The context")

    def _wrong_names(self, got: Collection[str], where: str) -> Refusal:
        unknown, missing = sorted(set(got) - self._types.keys()), [n for n in self.names if n not in got]
        if missing:
            return bad_request(f"{where} lacks the column {missing[0]!r}; send it, with null where no value is known.")
        return bad_request(f"{where} has an unknown column {unknown[0]!r}; the model reads {', '.join(self.names)}.")

    def _wrong_type(self, name: str, values: list[Value]) -> Refusal:
        row = next(i for i, value in enumerate(values) if type(value) not in self._types[name])
        wanted, got = ("numbers", "a string") if name in self.numeric else ("strings", "a number")
        return bad_request(f"Column {name!r} has {got} in row {row}; it takes {wanted} or null.")


def _check_sizes(name: str, values: list[str | None]) -> None:
    longest = max(map(len, filter(None, values)), default=0)
    if longest > CATEGORY_LIMIT_CHARACTERS:
        sentence = f"Column {name!r} has a string of {longest:,} characters"
        raise bad_request(f"{sentence}; a category has at most {CATEGORY_LIMIT_CHARACTERS:,}.")
