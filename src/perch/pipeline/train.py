"""Step 4: fit a model on the training window."""

from perch.pipeline.features import Prepared
from perch.pipeline.settings import PipelineSettings
from perch.workload.model import Scorer, estimator


def fit(prepared: Prepared, kind: str, settings: PipelineSettings) -> Scorer:
    """Train one model on the rows that were sampled for its kind. Equal data and seed give an equal model."""
    data = prepared.inputs[kind]
    model = estimator(kind).fit(data.values, data.clicked, names=data.transform.names, seed=settings.seed)
    return Scorer(prepared.schema, data.transform, model, data.keep_rate)
