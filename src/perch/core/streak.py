"""Two windows in a row make a finding, and two end it: what one window says by chance is not told."""

from collections.abc import Iterable
from math import sqrt
from typing import Final, NamedTuple

WINDOW_S: Final = 300.0
LEAST_ROWS: Final = 30
"""A window of fewer changes nothing."""

ALARMS_A_WEEK: Final = 0.25

_WINDOWS_A_WEEK: Final = 7 * 86_400 / WINDOW_S


def level_of(figures: Iterable[int]) -> float:
    """Probability with which one figure may exceed its limit in a window by chance.

    What has several figures exceeds when any of them does: in two windows in a row at most with the square of their
    sum's probability, since it need not be the same one. All these of a week add up to `ALARMS_A_WEEK`.

    Args:
        figures: How many figures each thing has that is looked at.
    """
    return sqrt(ALARMS_A_WEEK / (_WINDOWS_A_WEEK * max(sum(number**2 for number in figures), 1)))


class Streak(NamedTuple):
    """Whether something drifts, and for how long."""

    drifts: bool = False
    contrary: int = 0
    """Windows in a row that contradict `drifts`."""

    since_s: float | None = None
    """Beginning of the first window beyond the limit; `None`: the last one is within it, and it does not drift."""

    def after(self, began_s: float, *, is_beyond: bool) -> "Streak":
        """The streak with one more window, which began then."""
        drifts, contrary = self.drifts, self.contrary + 1 if is_beyond != self.drifts else 0
        since_s = began_s if is_beyond and self.since_s is None else self.since_s
        if contrary == 2:
            drifts, contrary = is_beyond, 0
        return Streak(drifts, contrary, since_s if drifts or is_beyond else None)
