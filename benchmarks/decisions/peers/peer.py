"""What the rules of the peers have in common: a canary with a weight, ways to end, and two shares to check."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
from benchmarks.decisions.rollouts import End

from perch.core.types import Arm
from perch.rehearsal.market import Floats, Ints, Mask, Served, Split


class Peer(ABC):
    """R rollouts under one rule. A subclass says in `step` what is done with each tick."""

    baseline_weight = 0.0
    """Share of the traffic of the baseline arm, 0 to 1."""

    def __init__(self, replications: int, weight: float) -> None:
        self.weight: Floats = np.full(replications, weight)
        self.ends = np.full(replications, End.HELD, dtype=np.int8)
        self.ended_s: Floats = np.full(replications, np.nan)

    @property
    def running(self) -> Mask:
        """Which of them have not ended, `(R,)`."""
        running: Mask = self.ends == End.HELD
        return running

    @property
    def split(self) -> Split:
        """Where the traffic goes in the next tick."""
        return Split.between(self.weight, self.baseline_weight)

    @abstractmethod
    def step(self, now_s: int, served: Mapping[Arm, Served]) -> None:
        """Take in what was served in the second that ended at `now_s`."""

    def end(self, which: Mask, how: End, now_s: int) -> None:
        """End those in `which` `(R,)` that are still running."""
        ending = which & self.running
        self.ends[ending] = how
        self.ended_s[ending] = now_s


def error_rate(served: Served) -> Floats:
    """Share of the finished requests that failed, `(R,)`; not a number where there were none."""
    return _share(served.failed, served.finished)


def slow_share(served: Served) -> Floats:
    """Share of the answers that came later than the SLO's limit, `(R,)`; not a number where there were none.

    The p99 is above the limit exactly where this is above 1 %.
    """
    return _share(served.slow, served.answered)


def _share(part: Ints, whole: Ints) -> Floats:
    share: Floats = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return share
