"""Does serving see what training saw?

Rows that the model learned from go through the package's own transform once more, as requests, and must come out equal
to the last bit.
"""

import json
from typing import ClassVar

import numpy as np

from perch.pipeline.case import Case
from perch.pipeline.features import spread
from perch.pipeline.gates.latency import records
from perch.pipeline.record import Finding, NotJudged
from perch.workload.features import Floats
from perch.workload.package import load_package


class Skew:
    """Training's features, recomputed by serving from JSON, are equal to the last bit; not a number equals itself."""

    name: ClassVar[str] = "skew"

    def check(self, case: Case) -> Finding | NotJudged:
        """Transform a sample of the training rows as serving does.

        Raises:
            ModelError: The package cannot be loaded.
        """
        sample = case.prepared.training_sample
        if not len(sample):
            return NotJudged(self.name, "no rows of the training window were kept")
        served = load_package(case.package, case.digest)
        rows = json.loads(json.dumps(records(sample, served.schema)))
        again = served.transform.transform({name: [row[name] for row in rows] for name in served.schema.inputs})
        learned = case.prepared.inputs[case.kind]
        before = np.take(learned.values, spread(len(learned.clicked), len(sample)), axis=0)
        return self._compared(before, again.values, served.transform.names)

    def _compared(self, before: Floats, again: Floats, names: list[str]) -> Finding:
        differ = (before.view(np.uint64) != again.view(np.uint64)) & ~(np.isnan(before) & np.isnan(again))
        count = int(differ.any(axis=1).sum())
        figures = {"rows": float(len(before)), "differing_rows": float(count)}
        if not differ.any():
            sentence = f"serving recomputes the features of {len(before)} training rows to the last bit"
            return Finding.judged(self.name, sentence, passed=True, figures=figures)
        row, column = np.argwhere(differ)[0]
        sentence = (
            f"serving computes other features than training for {count} of {len(before)} rows; "
            f"{names[column]} was {before[row, column]:g} and is {again[row, column]:g} for the first"
        )
        return Finding.judged(self.name, sentence, passed=False, figures=figures)
