"""Everything a rollout needs to go on after a crash: what `decide` takes and gives back.

Frozen and plain, so that it goes to JSON and back without loss, at any tick.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from perch.core.clicks import Clicks
from perch.core.events import Record, Tally
from perch.core.guard import Guard
from perch.core.judge import Judge
from perch.core.paired import Paired
from perch.core.pods import Pods
from perch.core.reference import Reference
from perch.core.sample_ratio import SampleRatio
from perch.core.types import Action, Arm, Phase, Weights
from perch.core.vector import Vector


class Cause(StrEnum):
    """Why a rollout ended or traffic was moved for good."""

    PROVEN = "proven"
    """The canary was proven to be no worse."""

    PERSON = "person"
    """Somebody said so."""

    HARM = "harm"
    """The version failed more, was slower or scored differently beyond the tolerance: quarantine it."""

    SILENT = "silent"
    """The version runs and does not answer the requests that it is given: quarantine it."""

    DOWN = "down"
    """Nothing ran that could answer as the version. That may be the machine's doing, so the version may be fine."""

    MISROUTED = "misrouted"
    """The split is not the one that was asked for; the version may be fine."""

    INCONCLUSIVE = "inconclusive"
    """Too little was seen for too long; the version may be fine."""

    @property
    def quarantines(self) -> bool:
        """Whether a version that was rolled back for this cause should not be offered again."""
        return self in {Cause.HARM, Cause.SILENT}


class Pair(StrEnum):
    """Two arms under comparison: does the first harm, compared with the second?"""

    CANARY_STABLE = "canary|stable"
    CANARY_BASELINE = "canary|baseline"
    STABLE_BASELINE = "stable|baseline"

    @property
    def arms(self) -> tuple[Arm, Arm]:
        """The arm under suspicion and the one it is compared with."""
        return _ARMS[self]


_ARMS = {
    Pair.CANARY_STABLE: (Arm.CANARY, Arm.STABLE),
    Pair.CANARY_BASELINE: (Arm.CANARY, Arm.BASELINE),
    Pair.STABLE_BASELINE: (Arm.STABLE, Arm.BASELINE),
}


class Batch(NamedTuple):
    """Counts that wait until there are enough of them to be weighed. The shadow's count as the canary's."""

    since_s: float
    arms: Mapping[Arm, Tally] = {}


class State(NamedTuple):
    """A rollout between two ticks. Made by `begin`, moved on by `decide`.

    A named tuple, for each tick makes a new one with half of its fields replaced, and a dataclass of this size takes
    seven times as long for that.
    """

    phase: Phase
    outcome: Action | None
    """How the rollout ended; `None` while it runs."""

    cause: Cause | None
    """Why it ended; `None` while it runs."""

    weights: Weights
    paused: bool
    has_baseline: bool
    """Whether a baseline arm of its own is deployed."""

    reference: Reference

    tick: int
    """The last tick that was weighed; -1 before the first."""

    seen_s: float
    """End of the last tick, in seconds since the epoch."""

    now_s: float
    """The rollout's own clock, in seconds since the epoch at its beginning. A tick moves it by 30 s at most: time in
    which nobody looked counts for nothing. Nor does the tick in which the machine's clock was set back."""

    started_s: float
    phase_since_s: float
    weights_since_s: float
    data_s: float
    """When the arms that the phase compares last both had requests."""

    watched_s: float
    """Seconds of the stage (shadow, ramp, or all since promotion) between ticks with requests, 30 for a gap at most."""

    sources_down_s: float | None
    """When a source last did not answer; `None`: never."""

    batch: Batch
    seen: Record
    """What the arms counted since the rollout began, as far as it was weighed."""

    before_stage: Record
    """`seen` as it was when the stage began: shadow and ramp are one stage, guard and confirm are two others."""

    before_live: Record
    """`seen` as it was when the canary got live traffic."""

    before_weights: Record
    """`seen` as it was when the weights were last changed."""

    warmed: int
    """The canary's requests whose latency and scores were not weighed, for it was cold."""

    doubted_s: float | None
    """Since when a verdict waits for that of a single pod; `None`: it does not."""

    comparisons: Mapping[Pair, Vector]
    """Wealth on each bet about a pair of arms: see `perch.core.evidence.Family`."""

    spent: float
    """Mass of the mixture over change times that is at work, 0 to 1."""

    spent_s: float
    """When mass was last put to work."""

    clicks: Clicks
    paired: Paired
    judge: Judge

    pods: Mapping[Arm, Pods]
    """Of arms that have several."""

    sample_ratio: SampleRatio
    guard: Guard | None
    """From promotion on."""

    promoted_by: Cause | None
    """Why the canary was promoted; `None` before."""

    down_s: float | None = None
    """When nothing last ran that could answer as the canary; `None`: never."""
