"""Tells the log of requests that failed, of one in a second, so that a broken model cannot fill the disk."""

import logging
import time
from collections.abc import Callable

INTERVAL_S = 1.0

_log = logging.getLogger("perch.serving")


class FailureLog:
    """Writes at most one failure an interval, with the number of those it left out since the one before."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_s = float("-inf")
        self._left_out = 0

    def tell(self, request_id: str, error: BaseException, *, explained: bool) -> None:
        """Write that a request failed, with a traceback unless the error explains itself; or only count it."""
        now_s = self._clock()
        if now_s < self._next_s:
            self._left_out += 1
            return
        trace = None if explained else error
        _log.error(
            "Request %s failed: %s (%d more since the last line)", request_id, error, self._left_out, exc_info=trace
        )
        self._next_s, self._left_out = now_s + INTERVAL_S, 0
