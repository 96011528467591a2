"""Flagger: fixed thresholds, checked every interval; so many failed checks in all, and the canary goes home.

Source: https://docs.flagger.app/usage/how-it-works and `pkg/controller/scheduler.go` of fluxcd/flagger. A check looks
at the canary alone, over the last interval. A check without a value fails.
"""

from collections.abc import Mapping

import numpy as np
from benchmarks.decisions.peers.peer import Peer, error_rate, slow_share
from benchmarks.decisions.rollouts import End

from perch.core.types import Arm
from perch.rehearsal.market import Served

_STEP_PERCENT = 5
_MAX_PERCENT = 50
_MAX_ERROR_RATE = 0.01
_MAX_SLOW_SHARE = 0.01


class Flagger(Peer):
    """Flagger's canary analysis with its documented metrics: success rate at least 99 %, p99 at most 500 ms."""

    def __init__(self, replications: int, *, interval_s: int = 60, threshold: int = 10) -> None:
        super().__init__(replications, _STEP_PERCENT / 100)
        self._interval_s = interval_s
        self._threshold = threshold
        self._percent = np.full(replications, _STEP_PERCENT)
        self._failed_checks = np.zeros(replications, dtype=np.int64)
        self._window = self._empty = Served.none(replications)

    def step(self, now_s: int, served: Mapping[Arm, Served]) -> None:
        """Check at the end of each interval."""
        self._window += served[Arm.CANARY]
        if now_s % self._interval_s == 0:
            self._analyse(now_s)
            self._window = self._empty

    def _analyse(self, now_s: int) -> None:
        """Look at the failed checks before the next check is made: the last failure costs a further interval."""
        self.end(self._failed_checks >= self._threshold, End.ROLLED_BACK, now_s)
        window = self._window
        passed = (error_rate(window) <= _MAX_ERROR_RATE) & (slow_share(window) <= _MAX_SLOW_SHARE)
        self._failed_checks += ~passed
        self.end(passed & (self._percent >= _MAX_PERCENT), End.PROMOTED, now_s)
        self._percent = np.minimum(self._percent + passed * _STEP_PERCENT, _MAX_PERCENT)
        self.weight = self._percent / 100
