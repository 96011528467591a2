"""Refuse a log whose feed broke off for a while: a stretch in which no click was told of, or an input is missing.

Taken as a whole such a log looks well. But the last rows are what models are judged on, and there the one that learned
from the break would win.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perch.errors import DataError
from perch.workload.schema import Schema

_EXPECTED_CLICKS = 50.0  # not to get one of so many has a probability of e^-50
_STRETCH = 0.01
_FEWEST_ROWS = 100
_USUALLY_MISSING = 0.5


def check_unbroken(frame: pd.DataFrame, clicked: NDArray[np.bool_], schema: Schema) -> None:
    """Check that clicks and inputs came all the time.

    Args:
        frame: Rows in the order of time, old enough for their labels to be final.
        clicked: Whether each was clicked.
        schema: Names of the columns.

    Raises:
        DataError: they did not; the message names what is missing, and from which row to which.
    """
    begin, end = _longest(~clicked)
    elsewhere = len(frame) - (end - begin)
    expected = (end - begin) * clicked.sum() / max(elsewhere, 1)
    if clicked.any() and expected > _EXPECTED_CLICKS:
        raise DataError(
            f"no click was told of in rows {begin:,} to {end - 1:,}, where about {expected:.0f} were to be expected: "
            "the feed of clicks was broken then. Deliver it again, or leave those rows out"
        )
    for name in schema.inputs:
        _check_present(name, frame[name].isna().to_numpy())


def _check_present(name: str, missing: NDArray[np.bool_]) -> None:
    """Check one input. One that is first known later, as what is known of a user's past, was not broken before."""
    begin, end = _longest(missing)
    length = end - begin
    if not begin:
        return
    usually = (missing.sum() - length) / max(len(missing) - length, 1)
    if length > max(_STRETCH * len(missing), _FEWEST_ROWS) and usually < _USUALLY_MISSING:
        raise DataError(
            f"{name} is missing in all rows from {begin:,} to {end - 1:,}, and else in {100 * usually:.0f} % of them: "
            "its feed was broken then. Deliver it again, or leave those rows out"
        )


def _longest(flags: NDArray[np.bool_]) -> tuple[int, int]:
    """Begin and end of the longest stretch of set flags."""
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    begins, ends = edges[::2], edges[1::2]
    if not len(begins):
        return 0, 0
    longest = int(np.argmax(ends - begins))
    return int(begins[longest]), int(ends[longest])
