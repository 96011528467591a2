"""Kayenta, the judge of Spinnaker: canary against a fresh copy of the champion of the same size, on points of a minute.

Source: https://spinnaker.io/docs/guides/user/canary/ and `NetflixACAJudge.scala`, `WeightedSumScorer.scala` of
spinnaker/kayenta. A group of metrics scores the share of its metrics that pass; the canary scores the mean of its
groups, here errors and latency with one metric each. At or below the marginal score it fails at once, and the last
judgement must reach the pass score. Where half of the metrics or more have no data, the score is 0.
"""

from collections.abc import Mapping

import numpy as np
from benchmarks.decisions.peers.mann_whitney import is_high
from benchmarks.decisions.peers.peer import Peer, error_rate
from benchmarks.decisions.rollouts import End

from perch.core.types import Arm
from perch.rehearsal.market import GRID, Floats, Ints, Served

_WEIGHT = 0.1
_POINT_S = 60
_JUDGE_S = 1200
_JUDGEMENTS = 3
_MARGINAL = 75.0
_PASS = 95.0
_ARMS = (Arm.CANARY, Arm.BASELINE)


class Kayenta(Peer):
    """Three judgements, one each 20 minutes, each on everything since the start; 10 % for canary and control each."""

    baseline_weight = _WEIGHT

    def __init__(self, replications: int) -> None:
        super().__init__(replications, _WEIGHT)
        self._empty = Served.none(replications)
        self._minute = dict.fromkeys(_ARMS, self._empty)
        self._points: dict[Arm, list[Floats]] = {arm: [] for arm in _ARMS}

    def step(self, now_s: int, served: Mapping[Arm, Served]) -> None:
        """Make a point of each minute, and judge when it is time."""
        for arm in _ARMS:
            self._minute[arm] += served[arm]
            if now_s % _POINT_S == 0:
                self._points[arm].append(_point(self._minute[arm]))
                self._minute[arm] = self._empty
        if now_s % _JUDGE_S == 0:
            self._judge(now_s)

    def _judge(self, now_s: int) -> None:
        experiment, control = (np.stack(self._points[arm], axis=-1) for arm in _ARMS)
        scores = np.full(len(self.ends), np.nan)
        for i in np.flatnonzero(self.running):
            scores[i] = score(experiment[:, i], control[:, i])
        self.end(scores <= _MARGINAL, End.ROLLED_BACK, now_s)
        if now_s >= _JUDGE_S * _JUDGEMENTS:
            self.end(scores >= _PASS, End.PROMOTED, now_s)
            self.end(scores < _PASS, End.ROLLED_BACK, now_s)


def score(experiment: Floats, control: Floats) -> float:
    """The canary's score, 0 to 100, from points `(metrics, time)` of both; NaN is a point without data."""
    passed = []
    for canary, champion in zip(experiment, control, strict=True):
        x, y = canary[~np.isnan(canary)], champion[~np.isnan(champion)]
        if x.size and y.size:
            passed.append(not is_high(x, y))
    if 2 * len(passed) <= len(experiment):
        return 0.0
    return 100.0 * sum(passed) / len(experiment)


def _point(minute: Served) -> Floats:
    """Errors in percent and the p99 in milliseconds, `(2, R)`; NaN without requests."""
    return np.stack([100.0 * error_rate(minute), p99_ms(minute.latency)])


def p99_ms(latency: Ints) -> Floats:
    """The p99 of histograms `(R, L + 1)` on the market's grid, linear within a bin, as Prometheus estimates it.

    Above the last edge it is the last edge; of no answers it is NaN.
    """
    edges = np.array([0.0, *GRID.latency_ms, GRID.latency_ms[-1]])
    cumulative = latency.cumsum(axis=1)
    rank = 0.99 * cumulative[:, -1]
    bins = (cumulative < rank[:, None]).sum(axis=1)
    rows = np.arange(len(latency))
    inside = latency[rows, bins]
    share = np.divide(rank - cumulative[rows, bins] + inside, inside, out=np.full(len(rank), np.nan), where=inside > 0)
    estimate: Floats = edges[bins] + share * (edges[bins + 1] - edges[bins])
    return estimate
