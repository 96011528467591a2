"""Is a feature too good to be true? One that was written after the click knows the label, and will not know it when a
request comes.

What a feature alone tells of the label is measured as the share of the clicks' entropy that it explains, 1 - normalised
entropy (He et al., *Practical Lessons from Predicting Clicks on Ads at Facebook*, 2014, §3). The AUC of one feature
would miss a leak that only some clicks have, or that is not monotone, such as a value that is missing without a click.
Clicks are hard to foresee: whole models explain a tenth of the entropy, single honest features a fiftieth.
"""

from typing import ClassVar

import numpy as np

from perch.pipeline.case import Case
from perch.pipeline.features import Bools, spread
from perch.pipeline.record import Finding, NotJudged
from perch.workload import metrics
from perch.workload.features import Floats

_ROWS = 100_000
"""Rows that are looked at: features take ten times the memory of the rows that they are made of."""

_BINS = 64
_PRIOR_ROWS = 10.0
"""Rows at the mean click rate that are added to each bin, so that a rare value is not believed at once."""


class Leakage:
    """No input is the label or its time, and no feature alone explains more than the limit."""

    name: ClassVar[str] = "leakage"

    def check(self, case: Case) -> Finding | NotJudged:
        """Look at the inputs' names, then at each feature on the evaluation window."""
        schema, limit = case.scorer.schema, case.settings.gates.max_explained
        told = [name for name in schema.inputs if name in (schema.label, schema.label_time)]
        if told:
            sentence = f"the challenger reads {', '.join(told)}, which is known only after the click"
            return Finding.judged(self.name, sentence, passed=False)
        if case.too_few_clicks:
            return NotJudged(self.name, case.too_few_clicks)
        rows = spread(len(case.prepared.evaluation), min(_ROWS, len(case.prepared.evaluation)))
        matrix = case.scorer.transform.transform_frame(case.prepared.evaluation.iloc[rows])
        features = zip(case.scorer.transform.names, matrix.values.T, strict=True)
        clicked = case.prepared.evaluation_clicked[rows]
        found = {name: explained(column, clicked) for name, column in features}
        name, most = max(found.items(), key=lambda item: item[1])
        sentence = f"{name} alone explains {most:.1%} of the clicks' entropy, more than any other feature does; "
        figures = {"features": float(len(found)), "most_explained": most, "allowed": limit}
        return Finding.judged(self.name, f"{sentence}{limit:.0%} are allowed", passed=most <= limit, figures=figures)


def explained(values: Floats, clicked: Bools) -> float:
    """Share of the clicks' entropy that one feature explains; below 0 where it explains nothing.

    The click rate of each bin of the feature's values is counted on one half of the rows and judged on the other.
    """
    known = values[~np.isnan(values)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1))) if len(known) else known
    bins = np.searchsorted(edges, values)  # missing values have the last bin to themselves
    first = np.arange(len(values)) < len(values) // 2
    probability = np.empty(len(values))
    for half in (first, ~first):
        probability[half] = _rates(bins[~half], clicked[~half], len(edges) + 1)[bins[half]]
    return 1 - metrics.normalised_entropy(clicked, probability)


def _rates(bins: "np.ndarray[tuple[int], np.dtype[np.intp]]", clicked: Bools, count: int) -> Floats:
    prior = _PRIOR_ROWS * (clicked.sum() + 1) / (len(clicked) + 2)
    clicks = np.bincount(bins, clicked, count)
    return np.asarray((clicks + prior) / (np.bincount(bins, minlength=count) + _PRIOR_ROWS))
