"""How the pipeline trains and what its gate allows. Times are in seconds, shares in 0 to 1."""

from dataclasses import dataclass, field

from perch.workload.features import FeatureSettings


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What a challenger must keep to."""

    min_clicks: int = 200
    """With fewer clicks in the evaluation window no verdict is given: so few make every interval too narrow."""

    margin: float = 0.01
    """A log loss that is proven to be at most this share above the champion's is not worse."""

    calibration: tuple[float, float] = (0.8, 1.25)
    """Predicted clicks for each click. A model is refused when its whole interval lies outside, and would also do so
    if the bounds were as far off as the champion is."""

    slice_margin: float = 0.05
    """A model is refused when its log loss on any slice is proven to be more than this share above the champion's."""

    slice_min_clicks: int = 50
    """Slices with fewer clicks are not judged: a handful of rows proves nothing."""


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

    features: FeatureSettings = field(default_factory=FeatureSettings)
    gate: GateSettings = field(default_factory=GateSettings)
