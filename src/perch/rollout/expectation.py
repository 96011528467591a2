"""How often a version should hit each score bin, compared with the champion, if it behaves as it did in evaluation.

A new model is meant to score differently, so "differs from the champion" is no harm by itself. Both versions were
evaluated on rows of the same kind; the ratio of their score histograms is what the rollout may expect to see live. A
feature that arrives otherwise than in training, or a model that answers a constant, breaks it.
"""

import numpy as np

from perch.adapters.registry.port import ModelVersion


def expected_ratio(canary: ModelVersion, champion: ModelVersion) -> tuple[float, ...] | None:
    """Ratio canary/champion of the share of rows in each score bin; `None` when either has no histogram.

    Half a row is added to each bin, so that an empty one gives a finite ratio.
    """
    histograms = [np.asarray(version.score_histogram) for version in (canary, champion)]
    if histograms[0].sum() == 0 or histograms[1].sum() == 0 or histograms[0].shape != histograms[1].shape:
        return None
    shares = [(counts + 0.5) / (counts + 0.5).sum() for counts in histograms]
    return tuple((shares[0] / shares[1]).tolist())
