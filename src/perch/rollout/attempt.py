"""One rollout as it is written down between two ticks: enough to go on after a crash as if nothing had happened."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from perch.core import Policy, Reference, State
from perch.core.types import Action, Arm, Counts, Observation, Phase
from perch.signals.labels import Cursor

Totals = Mapping[str, Mapping[str, Counts]]
"""What each serving process (by its name as a source) has counted since it started, by arm."""


@dataclass(frozen=True, slots=True)
class Served:
    """What the challenger answered since its rollout began."""

    mirrored: int = 0
    """Copies of requests, whose answers nobody saw."""

    live: int = 0
    """Requests of users."""

    bad: int = 0
    """Of those, the ones that failed or took longer than the SLO allows. A wrong score is not known to be one."""

    def after(self, observation: Observation, reference: Reference) -> Self:
        """What it is after a tick; `reference` knows the SLO's limit among the latency bins."""
        none = Counts.none(reference.grid)
        mirrored, live = (observation.arms.get(arm) or none for arm in (Arm.SHADOW, Arm.CANARY))
        bad = live.failed + sum(live.latency[reference.slo_edge + 1 :])
        return type(self)(self.mirrored + mirrored.finished, self.live + live.finished, self.bad + bad)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to make a version the champion."""

    name: str
    """Folder of its ledger: the version and how often it has been tried, such as `v3-1`."""

    version: int
    champion: int
    """The version that a rollback returns to."""

    baseline: int
    """The version to fall back to; may be the champion itself."""

    policy: Policy
    state: State
    totals: Totals
    """The counters as the last tick saw them: what comes on top belongs to the next tick."""

    label_cursor: Cursor = field(default_factory=Cursor)
    """The labels up to which are part of the evidence: what is known beyond belongs to the next tick."""

    tick: int = 0

    retry_of: str | None = None
    """The attempt that this one repeats, by its name."""

    served: Served = Served()

    sentence: str = ""
    """Why it stands as it does: the last decision's sentence."""

    e_value: float = 1.0
    """The evidence behind it."""

    @property
    def deployed(self) -> dict[Arm, int]:
        """Which version serves which arm."""
        arms = {Arm.STABLE: self.champion, Arm.CANARY: self.version, Arm.SHADOW: self.version}
        if self.baseline != self.champion:
            arms[Arm.BASELINE] = self.baseline
        return arms

    @property
    def done(self) -> bool:
        """The rollout has ended."""
        return self.state.phase is Phase.DONE

    @property
    def entitled(self) -> int:
        """The version that is the champion by what has been decided so far."""
        if self.state.outcome is Action.FALL_BACK:
            return self.baseline
        if self.state.phase in {Phase.GUARD, Phase.CONFIRM} or self.state.outcome is Action.PROMOTE:
            return self.version
        return self.champion
