"""What the market remembers of each user: impressions, and the clicks that have come in by now."""

import numpy as np
from numpy.typing import NDArray

from perch.world.population import Ints, Reals

_PRIOR_IMPRESSIONS, _PRIOR_CTR = 20, 0.02
_KNOWN_AFTER = 5


class ClickHistory:
    """Counts by user. A click enters only when it has come, however early its impression was."""

    def __init__(self, users: int) -> None:
        self._impressions = np.zeros(users, np.int64)
        self._clickers: Ints = np.zeros(0, np.int64)
        self._click_times_s: Reals = np.zeros(0)

    def add(self, users: Ints, clicked: NDArray[np.bool_], click_times_s: Reals) -> None:
        """Remember impressions, one entry each, and when the clicked ones will be clicked."""
        self._impressions += np.bincount(users, minlength=len(self._impressions))
        self._clickers = np.concatenate([self._clickers, users[clicked]])
        self._click_times_s = np.concatenate([self._click_times_s, click_times_s[clicked]])

    def recent_ctr(self, now_s: float) -> Reals:
        """Smoothed click rate of each user as known at `now_s`; NaN for users with too few impressions."""
        known = self._clickers[self._click_times_s < now_s]
        clicks = np.bincount(known, minlength=len(self._impressions))
        rate = (clicks + _PRIOR_IMPRESSIONS * _PRIOR_CTR) / (self._impressions + _PRIOR_IMPRESSIONS)
        return np.where(self._impressions < _KNOWN_AFTER, np.nan, rate)
