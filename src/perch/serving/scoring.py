"""From columns to probabilities: the one function that every protocol calls and that faults wrap."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from perch.errors import ModelError
from perch.serving.sketches import Sketcher
from perch.workload.features import Columns, Floats
from perch.workload.model import Scorer


@dataclass(frozen=True, slots=True)
class Scores:
    """What a model says about the rows of a request."""

    probabilities: list[float]
    """One for each row."""

    missing: Mapping[str, int]
    """Rows without a value, by column; columns without such rows are absent."""

    unseen: Mapping[str, int]
    """Rows with a category that training had not seen, by column; columns without such rows are absent."""

    cells: Sequence[int] = ()
    """In which cells of the sketch the first row counts; empty without a sketch."""

    features: Floats | None = None
    """The matrix that the model read, of shape (rows, features); `None`: not known."""

    given: Columns | None = None
    """What the model was given, where that is not what was asked."""


Score: TypeAlias = Callable[[Columns], Scores]


def score_with(scorer: Scorer, sketcher: Sketcher | None = None) -> Score:
    """The scoring function of a loaded model; a sketcher says where its inputs count."""
    transform, predict = scorer.transform.transform, scorer.predict

    def score(columns: Columns) -> Scores:
        matrix = transform(columns)
        cells = () if sketcher is None else sketcher.cells(matrix)
        return Scores(predict(matrix.values).tolist(), matrix.missing, matrix.unseen, cells, matrix.values)

    return score


def check(probabilities: list[float], rows: int) -> None:
    """Make sure that a model's output is one probability for each row.

    Raises:
        ModelError: it is not.
    """
    if len(probabilities) != rows:
        raise ModelError(f"The model returned {len(probabilities)} scores for {rows} rows.")
    for row, probability in enumerate(probabilities):
        if not 0.0 <= probability <= 1.0:  # false for NaN, too
            raise ModelError(f"The model returned {probability} for row {row}, which is no probability.")
