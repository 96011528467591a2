"""What each input adds to a score, in log-odds: the sum of what is made of it.

A column becomes two features, its log-odds and its count, and trees share what these two say between them by chance; so
a person asks about columns. What a cross of two columns adds belongs to both, half to each: so Shapley values divide
what two players earn together (Shapley, *A Value for n-Person Games*, 1953).
"""

import numpy as np

from perch.workload.features import FeatureColumns, Floats
from perch.workload.model import Scorer


class Attributor:
    """Attributes the scores of a model to its inputs."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.features = tuple(scorer.transform.names)
        self.inputs, self._shares = _shares(scorer.transform.columns)

    def features_of(self, values: Floats) -> Floats:
        """See `Scorer.contributions`."""
        return self._scorer.contributions(values)

    def inputs_of(self, parts: Floats) -> Floats:
        """Attributions of the inputs, of shape (rows, inputs).

        Args:
            parts: Those of the features with the base, as `features_of` gives them.
        """
        return np.asarray(parts[:, :-1] @ self._shares)


def _shares(columns: FeatureColumns) -> tuple[tuple[str, ...], Floats]:
    """The inputs in the order in which the transform reads them, and which share of each feature is whose."""
    sources = [names for _, names in columns.sources]
    inputs = tuple(dict.fromkeys(name for names in sources for name in names))
    shares = np.array([[names.count(name) / len(names) for name in inputs] for names in sources])
    return inputs, shares
