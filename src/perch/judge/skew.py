"""Makes the features of served requests again, as training does, and compares them with those that serving made.

Serving and training go by two paths: columns of a request there, a frame of the log here. They must give the same
numbers. Where they do not, the model is asked something else than what it learnt, and no test of distributions need see
it: prices in cents are a fine distribution, too.

The same to twelve digits, not to the last bit: who inspects may run on another processor than who serves, and a
logarithm's last bit depends on the processor.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from perch.signals.events import Row
from perch.signals.inspection import FeatureMatch, Sampled
from perch.workload.features import FeatureColumns, Floats, Transform

_SAME: Final = 1e-12
"""Relative difference of numbers that are the same: many last bits (2e-16), and far less than any fault."""


class Example(NamedTuple):
    """The first request of which a feature was served otherwise."""

    feature: str
    request_id: str
    asked: Mapping[str, float | str | None]
    """The inputs that the feature is made of, without hidden ones."""

    served: float
    made_again: float


class Compared(NamedTuple):
    """How the features of a sample compare."""

    matches: list[FeatureMatch]
    examples: list[Example]
    """One of each feature that is not always the same."""


def compare(sample: Sequence[Sampled], transform: Transform, hidden: Collection[str] = ()) -> Compared:
    """Compare every feature of the requests whose served features are known, and whose row the model could read.

    Args:
        sample: The requests.
        transform: Training's, of the version that answered them.
        hidden: Inputs that no example has, as who the user is.
    """
    known = [one for one in sample if one.served is not None and _is_readable(one.asked, transform.columns)]
    if not known:
        return Compared([], [])
    matrix = transform.transform_frame(_frame([one.asked for one in known], transform.columns))
    again = matrix.values  # noqa: PD011  no frame of pandas
    served = _served(known, transform.names)
    equal = np.isclose(served, again, rtol=_SAME, atol=0, equal_nan=True)
    matches = [
        FeatureMatch(name, len(known), int(count))
        for name, count in zip(transform.names, equal.sum(axis=0), strict=True)
    ]
    first, parts = equal.argmin(axis=0), dict(transform.columns.sources)
    examples = [
        Example(
            name,
            known[row].request_id,
            {part: known[row].asked[part] for part in parts[name] if part not in hidden},
            float(served[row, column]),
            float(again[row, column]),
        )
        for column, (name, row) in enumerate(zip(transform.names, first.tolist(), strict=True))
        if not equal[row, column]
    ]
    return Compared(matches, examples)


def _is_readable(row: Row, columns: FeatureColumns) -> bool:
    """Whether a row has every input, each of its type; events of another model's age need not."""
    inputs = {name for _, parts in columns.sources for name in parts}
    return row.keys() >= inputs and all(
        row[name] is None or isinstance(row[name], float) is (name in columns.numeric) for name in inputs
    )


def _frame(rows: Sequence[Row], columns: FeatureColumns) -> pd.DataFrame:
    inputs = {name for _, parts in columns.sources for name in parts}
    return pd.DataFrame(
        {
            name: pd.Series([row[name] for row in rows], dtype=np.float64 if name in columns.numeric else object)
            for name in sorted(inputs)
        }
    )


def _served(known: Sequence[Sampled], names: Sequence[str]) -> Floats:
    """Shape (requests, features); a feature that was not served is none of any row."""
    rows = [[(one.served or {}).get(name) for name in names] for one in known]
    return np.array(rows, np.float64)
