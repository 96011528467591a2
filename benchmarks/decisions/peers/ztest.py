"""A z-test looked at every five seconds: what an engineer writes who has had one course of statistics.

No tool's rule, but the usual mistake: a test made for one look, at the same 1 % that we promise for the whole rollout,
on counts summed over time while the weight changes.
"""

from collections.abc import Mapping

import numpy as np
from benchmarks.decisions.peers.peer import Peer
from benchmarks.decisions.rollouts import End

from perch.core.types import Arm
from perch.rehearsal.market import Ints, Mask, Served

_LOOK_S = 5
_STEP_S = 60
_STEP_PERCENT = 5
_MAX_PERCENT = 50
_Z = 2.326  # one-sided, 1 %


class ZTest(Peer):
    """Two proportions, pooled, one-sided, for errors and for late answers; the weight grows by 5 % a minute to 50 %."""

    def __init__(self, replications: int) -> None:
        super().__init__(replications, _STEP_PERCENT / 100)
        self._canary = self._stable = Served.none(replications)

    def step(self, now_s: int, served: Mapping[Arm, Served]) -> None:
        """Look every five seconds; after a minute at 50 %, promote."""
        self._canary += served[Arm.CANARY]
        self._stable += served[Arm.STABLE]
        if now_s % _LOOK_S == 0:
            self.end(self._harms(), End.ROLLED_BACK, now_s)
        if now_s % _STEP_S == 0:
            steps = 1 + now_s // _STEP_S
            if steps * _STEP_PERCENT > _MAX_PERCENT:
                self.end(self.running, End.PROMOTED, now_s)
            self.weight[:] = steps * _STEP_PERCENT / 100

    def _harms(self) -> Mask:
        canary, stable = self._canary, self._stable
        return exceeds(canary.failed, canary.finished, stable.failed, stable.finished) | exceeds(
            canary.slow, canary.answered, stable.slow, stable.answered
        )


def exceeds(x: Ints, n: Ints, y: Ints, m: Ints) -> Mask:
    """Where the share x/n is significantly above y/m at 1 %, one-sided; `(R,)` each. False where there is no data."""
    n_or_1, m_or_1 = np.maximum(n, 1), np.maximum(m, 1)
    pooled = (x + y) / np.maximum(n + m, 1)
    error = np.sqrt(pooled * (1 - pooled) * (1 / n_or_1 + 1 / m_or_1))
    higher: Mask = (x / n_or_1 - y / m_or_1 > _Z * error) & (n > 0) & (m > 0)
    return higher
