"""SageMaker's deployment guardrails: a canary of fixed size, and CloudWatch alarms that roll it back.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-blue-green-canary.html and CloudWatch's
manual on alarms. Periods of one minute, one of one breaching; a missing period is no alarm (`notBreaching`); a metric
shows a minute after its period. When the bake is over, all traffic moves.
"""

from collections.abc import Mapping

import numpy as np
from benchmarks.decisions.peers.peer import Peer, error_rate, slow_share
from benchmarks.decisions.rollouts import End

from perch.core.types import Arm
from perch.rehearsal.market import Served

_WEIGHT = 0.1
_BAKE_S = 600
_PERIOD_S = 60
_MAX_ERROR_RATE = 0.01
_MAX_SLOW_SHARE = 0.01


class SageMaker(Peer):
    """A canary of 10 % for ten minutes, with alarms at 1 % of errors and at a p99 of 500 ms."""

    def __init__(self, replications: int) -> None:
        super().__init__(replications, _WEIGHT)
        self._period = self._empty = Served.none(replications)
        self._breach = np.zeros(replications, dtype=np.bool_)

    def step(self, now_s: int, served: Mapping[Arm, Served]) -> None:
        """Look at the period that shows now, which is the one before the period that ends now."""
        self._period += served[Arm.CANARY]
        if now_s % _PERIOD_S == 0:
            self.end(self._breach, End.ROLLED_BACK, now_s)
            self._breach = (error_rate(self._period) > _MAX_ERROR_RATE) | (slow_share(self._period) > _MAX_SLOW_SHARE)
            self._period = self._empty
        if now_s >= _BAKE_S:
            self.end(self.running, End.PROMOTED, now_s)
