"""What is compared: anything that sees what the arms served, and says where the traffic goes next."""

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Protocol

from benchmarks.decisions.scenarios import Scenario
from numpy import int8
from numpy.typing import NDArray

from perch.core.types import Arm
from perch.rehearsal.market import Floats, Served, Split


class End(IntEnum):
    """How a rollout ended."""

    HELD = 0
    """It has not."""

    ROLLED_BACK = 1
    """The canary was found to harm."""

    PROMOTED = 2
    ABORTED = 3
    """The traffic went back without a verdict."""


class Rollouts(Protocol):
    """R rollouts of one scenario under one rule."""

    ends: NDArray[int8]
    """An `End` for each, `(R,)`."""

    ended_s: Floats
    """Seconds from the first tick to the end, `(R,)`; not a number where there is none."""

    @property
    def split(self) -> Split:
        """Where the traffic goes in the next tick; what stands there for an ended rollout does not matter."""

    def step(self, now_s: int, served: Mapping[Arm, Served]) -> None:
        """Take in what was served in the second that ended at `now_s`: nothing, where the rollout has ended."""


Engine = Callable[[Scenario, int], Rollouts]
"""Begins so many rollouts of a scenario. An engine may use what an operator knows before (rate, promotion on or off),
never what the scenario does."""
