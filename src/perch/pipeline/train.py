"""Step 4: fit a model on the training window."""

import numpy as np

from perch.pipeline.features import Prepared
from perch.pipeline.settings import PipelineSettings
from perch.workload.model import Scorer, estimator


def fit(prepared: Prepared, kind: str, settings: PipelineSettings) -> Scorer:
    """Train one model on all clicks and a seeded sample of the rest. Equal data and seed give an equal model."""
    data, clicked = prepared.inputs[kind], prepared.training_clicked
    rng = np.random.default_rng([settings.seed, 1])
    kept = clicked | (rng.random(len(clicked)) < settings.keep_rate)
    model = estimator(kind).fit(data.values[kept], clicked[kept], names=data.transform.names, seed=settings.seed)
    return Scorer(prepared.schema, data.transform, model, settings.keep_rate)
