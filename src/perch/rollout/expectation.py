"""How often a version should hit each score bin, compared with the champion, if it behaves as it did in evaluation.

A new model is meant to score differently, so "differs from the champion" is no harm by itself. Both versions were
evaluated on rows of the same kind; the ratio of their score histograms is what the rollout may expect to see live. A
feature that arrives otherwise than in training, or a model that answers a constant, breaks it.
"""

import json

import numpy as np

from perch.adapters.registry.port import ModelVersion

HISTOGRAM_TAG = "score_histogram"
"""Tag of a version: a JSON list with the number of evaluation rows in each bin of the score grid."""


def expected_ratio(canary: ModelVersion, champion: ModelVersion) -> tuple[float, ...] | None:
    """Ratio canary/champion of the share of rows in each score bin; `None` when either has no histogram.

    Half a row is added to each bin, so that an empty one gives a finite ratio.
    """
    histograms = [json.loads(version.tags.get(HISTOGRAM_TAG, "[]")) for version in (canary, champion)]
    if not histograms[0] or len(histograms[0]) != len(histograms[1]):
        return None
    shares = [(np.asarray(counts) + 0.5) / (sum(counts) + 0.5 * len(counts)) for counts in histograms]
    return tuple((shares[0] / shares[1]).tolist())
