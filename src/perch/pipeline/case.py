"""What the gates are told of a candidate: everything, in one frozen piece."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from perch.pipeline.evaluate import Evaluation
from perch.pipeline.features import Prepared
from perch.pipeline.settings import PipelineSettings
from perch.workload.features import Floats
from perch.workload.latency import LatencyProof
from perch.workload.model import Scorer
from perch.workload.schema import Schema


@dataclass(frozen=True, slots=True)
class Incumbent:
    """A registered version that the candidate is compared with, judged on the same rows."""

    version: int
    schema: Schema
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class Case:
    """One candidate, as it was packaged and evaluated, and what it is held against."""

    kind: str
    package: Path
    digest: str
    """Of the package, in hex."""

    scorer: Scorer
    evaluation: Evaluation
    prepared: Prepared
    champion: Incumbent
    baseline: Incumbent
    """The same version as the champion, as long as nothing better serves."""

    settings: PipelineSettings
    now_s: float
    """Seconds since the epoch."""

    proof: LatencyProof | None = None
    """What a real serving process took for this package; `None`: nobody started one."""

    repeated_digest: str | None = None
    """Digest of a second training with the same data and seed; `None`: there was none."""

    @property
    def clicks(self) -> int:
        """Clicks in the evaluation window."""
        return int(self.prepared.evaluation_clicked.sum())

    @property
    def probability(self) -> Floats:
        """The candidate's probability of a click for each row of the evaluation window, as its losses tell it."""
        losses = self.evaluation.losses
        return np.where(self.prepared.evaluation_clicked, np.exp(-losses), -np.expm1(-losses))

    @property
    def too_few_clicks(self) -> str | None:
        """Why the evaluation window proves nothing; `None` when it has clicks enough."""
        needed = self.settings.gates.min_clicks
        if self.clicks >= needed:
            return None
        return f"the evaluation window has {self.clicks:,} clicks; {needed:,} are needed"
