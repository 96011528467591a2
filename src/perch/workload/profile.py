"""What a model's inputs looked like when it was trained, in the bins in which serving counts them.

A profile travels in the package, so a serving process needs nothing else to tell how its inputs have moved. Numbers are
counted in bins of equal share, categories by their commonest values and, for the rest, by how often they are clicked;
both also by whether they are missing, and categories by whether training knew them. Values themselves are not kept, but
slots of the feature table: an id of a person is no label of a metric.

A column whose values come to the wrong rows keeps its distribution. What it loses is its dependence on other columns,
so **pairs** of columns that depend on each other are counted, too, by coarse levels of both.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perch.workload.features import Floats, Matrix, Transform

SCORE = "_score"
"""Name of the column of log-odds that the model answered."""

NO_LEVEL = 4
"""Level of a value that is missing or not known; the others are numbered from 0."""

LEVELS = NO_LEVEL + 1


@dataclass(frozen=True, slots=True)
class Column:
    """One input, or the score."""

    name: str
    edges: tuple[float, ...]
    """Of numbers: the highest value of each bin but the last one; in training, the first and the last bin are empty.
    Of categories: the highest log-odds of each level."""

    top: tuple[int, ...] | None
    """Slots of the commonest values, each of which is a bin, the commonest first; `None`: numbers."""

    levels: tuple[int, ...]
    """Level of each bin, for pairs."""

    rows: tuple[int, ...]
    """Rows of training by bin. Numbers: between the edges, missing. Categories: the commonest values, the others by
    level, unseen, missing."""

    natural: float
    """PSI that an hour of training has against all of it, above chance: as much may move every day."""

    @property
    def bins(self) -> tuple[str, ...]:
        """Names of the bins. Those of two versions that have the same name hold the same values."""
        if self.top is None:
            return (*map(repr, self.edges), "+Inf", "missing")
        levels = (f"level{level}" for level in range(len(self.edges) + 1))
        return (*(f"#{slot:x}" for slot in self.top), *levels, "unseen", "missing")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two inputs that depend on each other."""

    first: int
    second: int
    """Positions of the columns."""

    rows: tuple[int, ...]
    """Rows of training by `LEVELS` times the first one's level, plus the second one's."""

    natural: float


@dataclass(frozen=True, slots=True)
class Attribution:
    """What one input added to the log-odds of the rows."""

    name: str
    rows: int
    mean: float
    magnitude: float
    """Mean without the signs."""

    square: float
    """Mean of the squares."""

    natural_mean: float
    """By how much the mean of a part of training's time differs from that of all, above chance."""

    natural_magnitude: float
    """The same of the magnitude."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The inputs of training. Where the log knows which ads were shown at random, those: they are like candidates."""

    columns: tuple[Column, ...]
    """Numbers first, then categories, in the order in which the transform reads them."""

    pairs: tuple[Pair, ...]
    score: Column
    attributions: tuple[Attribution, ...] = ()
    """In the order in which the transform reads the inputs; empty where the model, or an earlier Perch, cannot tell."""


def slot_bins(column: Column, transform: Transform) -> NDArray[np.uint8]:
    """The bin of each slot of the feature table, for a column of categories."""
    assert column.top is not None, "a column of categories"
    common = len(column.top)
    bins: NDArray[np.uint8] = (common + np.searchsorted(column.edges, transform.log_odds)).astype(np.uint8)
    unseen = common + len(column.edges) + 1
    bins[transform.impressions == 0] = unseen
    bins[1 << transform.settings.bits :] = unseen + 1
    bins[list(column.top)] = np.arange(common)
    return bins


def number_bins(column: Column, values: Floats) -> NDArray[np.intp]:
    """The bin of each value, for a column of numbers; NaN is missing."""
    return np.where(np.isnan(values), len(column.edges) + 1, np.searchsorted(column.edges, values))


def column_bins(column: Column, position: int, matrix: Matrix, transform: Transform) -> NDArray[np.intp]:
    """The bin of each row of a matrix, for the column at a position of the profile."""
    if column.top is None:
        return number_bins(column, matrix.values[:, position])
    slots = matrix.slots[position - len(transform.columns.numeric)]
    return np.asarray(slot_bins(column, transform)[slots], np.intp)
