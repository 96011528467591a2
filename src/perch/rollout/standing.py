"""What a service remembers between two starts."""

from dataclasses import dataclass, replace
from pathlib import Path

from perch.adapters.store.file import FileStore
from perch.core.types import Arm, Weights
from perch.rollout.attempt import Attempt


@dataclass(frozen=True, slots=True)
class Standing:
    """What a service remembers between two starts."""

    model: str
    """Name of the model that the versions are of."""

    champion: int
    baseline: int
    attempt: Attempt | None = None
    """The rollout in progress, or the last one."""

    @property
    def rolling(self) -> bool:
        """A rollout is in progress."""
        return self.attempt is not None and not self.attempt.done

    @property
    def arms(self) -> dict[Arm, int]:
        """The version of each arm that is deployed."""
        arms = {Arm.STABLE: self.champion}
        if self.baseline != self.champion:
            arms[Arm.BASELINE] = self.baseline
        if self.attempt is not None and not self.attempt.done:
            arms[Arm.CANARY] = self.attempt.version
        return arms

    def weights(self, baseline_share: float) -> Weights:
        """Where the traffic belongs: as the rollout in progress says, or else to the champion."""
        if self.attempt is not None and not self.attempt.done:
            return self.attempt.state.weights
        share = baseline_share if self.baseline != self.champion else 0.0
        return Weights(baseline=share, stable=1 - share)

    def cautious_weights(self, baseline_share: float, in_force: Weights) -> Weights:
        """Where the traffic belongs as long as nobody has looked: no more for canary and mirror than is in force.

        What was taken from them may have been routed and not been recorded; the baseline keeps what it was given.
        """
        recorded = self.weights(baseline_share)
        canary = min(recorded.canary, in_force.canary)
        given = max(recorded.baseline, in_force.baseline) if Arm.BASELINE in self.arms else 0.0
        baseline = min(given, 1 - canary)
        mirror = min(recorded.mirror, in_force.mirror)
        return Weights(baseline, 1 - canary - baseline, canary, mirror)

    def after(self, attempt: Attempt) -> "Standing":
        """What is to be remembered once `attempt` stands as it does; its end gives the champion's arm away."""
        return replace(self, attempt=attempt, champion=attempt.entitled if attempt.done else self.champion)


def standing_file(path: Path) -> FileStore[Standing]:
    """Keeps the standing of one service in a file."""
    return FileStore(path, Standing, tells="where the service stands", remedy="Mend it, or move it away.")
