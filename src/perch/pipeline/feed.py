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
    feed = Feed(schema)
    feed.add(frame, clicked)
    feed.check()


class Feed:
    """What came of a log that is read in parts, in the order of time."""

    def __init__(self, schema: Schema) -> None:
        self._without_clicks = _Stretch()
        self._missing = {name: _Stretch() for name in schema.inputs}

    def add(self, frame: pd.DataFrame, clicked: NDArray[np.bool_]) -> None:
        """Take in the next rows, and whether each was clicked."""
        self._without_clicks.add(~clicked)
        for name, stretch in self._missing.items():
            stretch.add(frame[name].isna().to_numpy())

    def check(self) -> None:
        """Check that all rows together tell of no break; raises `DataError` as `check_unbroken`."""
        _check_clicks(self._without_clicks)
        for name, stretch in self._missing.items():
            _check_present(name, stretch)


class _Stretch:
    """The longest run of set flags, among flags that come in parts."""

    def __init__(self) -> None:
        self.begin = self.end = self.rows = self.set_rows = 0
        self._current = 0

    @property
    def length(self) -> int:
        """Flags in that run."""
        return self.end - self.begin

    def add(self, flags: NDArray[np.bool_]) -> None:
        """Take in the next flags."""
        unset = np.flatnonzero(~flags)
        first = int(unset[0]) if len(unset) else len(flags)
        begin, end = _longest(flags)
        self._take(self.rows - self._current, self.rows + first)
        self._take(self.rows + begin, self.rows + end)
        self._current = len(flags) - 1 - int(unset[-1]) if len(unset) else self._current + len(flags)
        self.rows += len(flags)
        self.set_rows += int(flags.sum())

    def _take(self, begin: int, end: int) -> None:
        if end - begin > self.length:
            self.begin, self.end = begin, end


def _longest(flags: NDArray[np.bool_]) -> tuple[int, int]:
    """Begin and end of the longest stretch of set flags."""
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    begins, ends = edges[::2], edges[1::2]
    if not len(begins):
        return 0, 0
    longest = int(np.argmax(ends - begins))
    return int(begins[longest]), int(ends[longest])


def _check_clicks(without: _Stretch) -> None:
    clicks = without.rows - without.set_rows
    expected = without.length * clicks / max(without.rows - without.length, 1)
    if clicks and expected > _EXPECTED_CLICKS:
        raise DataError(
            f"no click was told of in rows {without.begin:,} to {without.end - 1:,}, where about {expected:.0f} were "
            "to be expected: the feed of clicks was broken then. Deliver it again, or leave those rows out"
        )


def _check_present(name: str, missing: _Stretch) -> None:
    """Check one input. One that is first known later, as what is known of a user's past, was not broken before."""
    if not missing.begin:
        return
    usually = (missing.set_rows - missing.length) / max(missing.rows - missing.length, 1)
    if missing.length > max(_STRETCH * missing.rows, _FEWEST_ROWS) and usually < _USUALLY_MISSING:
        raise DataError(
            f"{name} is missing in all rows from {missing.begin:,} to {missing.end - 1:,}, and else in "
            f"{100 * usually:.0f} % of them: its feed was broken then. Deliver it again, or leave those rows out"
        )
