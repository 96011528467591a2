"""How the pipeline trains and what its gates allow. Times are in seconds, shares in 0 to 1."""

from dataclasses import dataclass, field

from perch.core.policy import Slo
from perch.settings import GateSettings
from perch.workload.features import FeatureSettings


@dataclass(frozen=True, slots=True)
class PipelineSettings:
    """How models are trained and compared."""

    attribution_window_s: float = 4 * 3_600
    """A click this long after its impression still counts. Younger impressions are not used: their labels may
    change. `perch train` takes it from the declaration, so that training counts the clicks that service counts."""

    history_share: float = 0.3
    """First share of the rows, by time, over which the feature table is counted."""

    evaluation_share: float = 0.2
    """Last share of the rows, by time, on which models are judged. Training gets what lies between."""

    keep_rate: float = 0.5
    """Share of the non-clicks that training keeps."""

    seed: int = 0
    """Seed of the down-sampling, of the trees and of the bootstrap."""

    resamples: int = 300
    """Bootstrap resamples behind each interval."""

    memory_bytes: int | None = None
    """Memory that training may take, libraries included. A log that does not fit is read in parts, and models of kinds
    that hold what they learn from learn all clicks and as many other rows as there is room for. `None`: no bound."""

    user_column: str | None = "user_id"
    """Input that says who is shown an ad; a package tells nothing of its values."""

    features: FeatureSettings = field(default_factory=FeatureSettings)
    gates: GateSettings = field(default_factory=GateSettings)
    slo: Slo = field(default_factory=Slo)
    """What users were promised: the packaged model is held to it."""
