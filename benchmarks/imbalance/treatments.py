"""What is done to the training rows, and by how much that raises the odds of a click."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from imblearn.over_sampling import SMOTE
from numpy.typing import NDArray

from perch.pipeline.features import sampling
from perch.pipeline.settings import PipelineSettings

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rows:
    """What a model learns from."""

    values: Floats
    """Shape (rows, features)."""

    clicked: Bools
    weights: Floats | None
    odds_factor: float
    """By how much the odds of a click are higher among these rows than among those that were given."""


Treatment = Callable[[Floats, Bools, int], Rows]
"""Takes all training rows and a seed."""


def untreated(values: Floats, clicked: Bools, seed: int) -> Rows:  # noqa: ARG001
    """All rows as they are."""
    return Rows(values, clicked, None, 1.0)


def down_sampled(keep_rate: float) -> Treatment:
    """Keep a share of the rows without a click, as the pipeline does."""

    def treat(values: Floats, clicked: Bools, seed: int) -> Rows:
        kept = clicked | (sampling(PipelineSettings(seed=seed)).random(len(clicked)) < keep_rate)
        return Rows(values[kept], clicked[kept], None, 1 / keep_rate)

    return treat


def down_sampled_to_balance(values: Floats, clicked: Bools, seed: int) -> Rows:
    """Keep as many rows without a click as there are clicks."""
    return down_sampled(_odds(clicked))(values, clicked, seed)


def weighted(values: Floats, clicked: Bools, seed: int) -> Rows:  # noqa: ARG001
    """Give each click the weight that makes both classes weigh the same."""
    factor = 1 / _odds(clicked)
    return Rows(values, clicked, np.where(clicked, factor, 1.0), factor)


def smote(values: Floats, clicked: Bools, seed: int) -> Rows:
    """Make up clicks between neighbouring ones until there are as many as rows without.

    SMOTE knows no missing number: the column's mean stands in, as in the candidate `wide`. Features are standardised
    for it, or the one with the largest numbers alone would say who is a neighbour.
    """
    filled = np.where(np.isnan(values), np.nanmean(values, axis=0), values)
    mean, deviation = filled.mean(axis=0), filled.std(axis=0)
    deviation[deviation == 0] = 1
    made, labels = SMOTE(random_state=seed).fit_resample((filled - mean) / deviation, clicked)
    return Rows(made * deviation + mean, labels, None, 1 / _odds(clicked))


def _odds(clicked: Bools) -> float:
    return float(clicked.sum() / (~clicked).sum())


TREATMENTS: Mapping[str, Treatment] = {
    "none": untreated,
    "keep 1/2": down_sampled(0.5),
    "keep 1/5": down_sampled(0.2),
    "keep 1/10": down_sampled(0.1),
    "keep to 1:1": down_sampled_to_balance,
    "class weights": weighted,
    "SMOTE": smote,
}
"""By the name that the tables use; the first one is what the others are compared with."""
