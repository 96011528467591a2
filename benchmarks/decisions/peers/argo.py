"""Argo Rollouts: steps by the clock, with an analysis in the background that may abort them.

Source: https://argo-rollouts.readthedocs.io/en/stable/features/analysis (background analysis) and
`analysis/analysis.go` of argoproj/argo-rollouts. Each metric has limits of its own: it fails above `failureLimit`
failed measurements in all, and errs above `consecutiveErrorLimit` errors in a row. A query that finds no series is an
error; one that divides nothing by nothing gives NaN, which meets no condition and fails. Where the metric has an
interval, an error is tried again after that interval (the 10 s of `DefaultErrorRetryInterval` are for metrics without
one).
"""

from collections.abc import Callable, Mapping

import numpy as np
from benchmarks.decisions.peers.peer import Peer, error_rate, slow_share
from benchmarks.decisions.rollouts import End

from perch.core.types import Arm
from perch.rehearsal.market import Floats, Mask, Served

_WEIGHTS = (0.2, 0.4, 0.6, 0.8)
_PAUSE_S = 600
_FAILURE_LIMIT = 3
_CONSECUTIVE_ERROR_LIMIT = 4
_MAX_SLOW_SHARE = 0.01


class Metric:
    """One metric of the analysis, which passes up to a largest share, and what was measured of it in R rollouts."""

    def __init__(self, replications: int, share: Callable[[Served], Floats], most: float) -> None:
        self._share = share
        self._most = most
        self._failures = np.zeros(replications, dtype=np.int64)
        self._errors_in_a_row = np.zeros(replications, dtype=np.int64)

    def measure(self, window: Served, known: Mask) -> None:
        """Take one measurement; `known` says where there is a series at all."""
        self._failures += known & ~(self._share(window) <= self._most)
        self._errors_in_a_row = np.where(known, 0, self._errors_in_a_row + 1)

    @property
    def failed(self) -> Mask:
        """Where the limit of failures was passed, `(R,)`."""
        failed: Mask = self._failures > _FAILURE_LIMIT
        return failed

    @property
    def erred(self) -> Mask:
        """Where the limit of errors in a row was passed, `(R,)`."""
        erred: Mask = self._errors_in_a_row > _CONSECUTIVE_ERROR_LIMIT
        return erred


class Argo(Peer):
    """A canary in steps of 20, 40, 60 and 80 %, ten minutes each, with a background analysis.

    As documented, the analysis starts with the second step and asks every five minutes for 95 % of success.
    """

    def __init__(
        self,
        replications: int,
        *,
        analysis_from_s: int = _PAUSE_S,
        interval_s: int = 300,
        max_error_rate: float = 0.05,
        latency: bool = False,
    ) -> None:
        super().__init__(replications, _WEIGHTS[0])
        self._analysis_from_s = analysis_from_s
        self._interval_s = interval_s
        self._metrics = [Metric(replications, error_rate, max_error_rate)]
        if latency:
            self._metrics.append(Metric(replications, slow_share, _MAX_SLOW_SHARE))
        self._known = np.zeros(replications, dtype=np.bool_)
        self._window = self._empty = Served.none(replications)

    def step(self, now_s: int, served: Mapping[Arm, Served]) -> None:
        """Measure when it is time, then go to the next step when its pause is over."""
        self._window += served[Arm.CANARY]
        if now_s >= _PAUSE_S * len(_WEIGHTS):
            self.end(self.running, End.PROMOTED, now_s)
        elif now_s % self._interval_s == 0:
            self._measure(now_s)
        if now_s % _PAUSE_S == 0 and now_s < _PAUSE_S * len(_WEIGHTS):
            self.weight[:] = _WEIGHTS[now_s // _PAUSE_S]

    def _measure(self, now_s: int) -> None:
        self._known |= self._window.finished > 0
        if now_s >= self._analysis_from_s:
            for metric in self._metrics:
                metric.measure(self._window, self._known)
                self.end(metric.failed, End.ROLLED_BACK, now_s)
                self.end(metric.erred, End.ABORTED, now_s)
        self._window = self._empty
