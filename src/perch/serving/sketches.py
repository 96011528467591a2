"""Counts the inputs of requests in the bins of the package's profile, and shows them on a page of their own.

Of each request the first row is counted. All rows of a slate share their context, so twenty of them would be counted as
twenty users who are alike; and which row is shown depends on the model, so the arms would differ where their inputs do
not. The counts of processes can be added, and their differences, too.

The page is not the one that the engine reads each second: it is ten times as long, and changes mean nothing within a
second.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from perch.serving.attributing import AttributionCounts, attribution_lines
from perch.serving.question import Identity
from perch.signals import exposition, names
from perch.workload.features import Matrix, Transform
from perch.workload.profile import LEVELS, NO_LEVEL, Column, Profile, slot_bins


class Sketcher:
    """Finds the cells in which a request counts: one for each column, then one for each pair."""

    def __init__(self, profile: Profile, transform: Transform) -> None:
        """Make one for the transform that the profile describes."""
        self._numbers: list[tuple[Sequence[float], int, int, Sequence[int]]] = []
        self._categories: list[tuple[bytes, int, Sequence[int]]] = []
        self._pairs: list[tuple[int, int, int]] = []
        start = 0
        for column in profile.columns:
            if column.top is None:
                self._numbers.append((column.edges, len(column.edges) + 1, start, column.levels))
            else:
                self._categories.append((slot_bins(column, transform).tobytes(), start, column.levels))
            start += len(column.rows)
        for pair in profile.pairs:
            self._pairs.append((pair.first, pair.second, start))
            start += LEVELS**2

    def cells(self, matrix: Matrix) -> list[int]:
        """The cells of the first row. Plain loops: for one row they take less time than arrays do."""
        cells, levels = [], []
        for value, (edges, missing, start, level_of) in zip(matrix.values[0].tolist(), self._numbers, strict=False):
            found = bisect_left(edges, value) if value == value else missing  # noqa: PLR0124  NaN is not itself
            cells.append(start + found)
            levels.append(level_of[found])
        for slot, (bin_of, start, level_of) in zip(matrix.slots[:, 0].tolist(), self._categories, strict=False):
            found = bin_of[slot]
            cells.append(start + found)
            levels.append(level_of[found])
        cells += [start + LEVELS * levels[first] + levels[second] for first, second, start in self._pairs]
        return cells


class InputCounts:
    """What one arm was asked about."""

    def __init__(self, profile: Profile) -> None:
        """Begin with nothing."""
        self.cells = [0] * (sum(len(column.rows) for column in profile.columns) + LEVELS**2 * len(profile.pairs))
        self.scores = [0] * len(profile.score.rows)
        self.attributions = AttributionCounts(len(profile.attributions))
        self._score_edges = profile.score.edges

    def add(self, cells: Sequence[int], logit: float) -> None:
        """Count a request by the cells of its first row and the log-odds that were answered for it."""
        counts = self.cells
        for cell in cells:
            counts[cell] += 1
        self.scores[bisect_left(self._score_edges, logit)] += 1


class InputsPage:
    """Writes the counts of all arms, with what they are compared with."""

    def __init__(self, profile: Profile, identity: Identity) -> None:
        """Prepare the labels, which are the same each time."""
        self._labels = [labels for labels, _ in _bins(profile)]
        self._reference = [rows for _, rows in _bins(profile)]
        self._natural = dict(_natural(profile))
        self._attributions = profile.attributions
        self._identity = identity.labels()

    def render(self, arms: Mapping[str, InputCounts]) -> bytes:
        """The page in Prometheus' text format. Arms that were never asked are left out."""
        return exposition.document(self._lines(arms))

    def _lines(self, arms: Mapping[str, InputCounts]) -> Iterator[str]:
        version = exposition.labels(**self._identity)
        yield from exposition.header(f"{names.INPUTS}_total", "counter", "Requests by the bin of their first row.")
        for arm, counts in arms.items():
            if any(counts.scores):
                of = exposition.labels(**self._identity, arm=arm)
                counted = (*counts.cells, *counts.scores)
                for labels, count in zip(self._labels, counted, strict=True):
                    yield f"{names.INPUTS}_total{{{of},{labels}}} {count}"
        yield from exposition.header(names.INPUTS_TRAINED, "gauge", "Rows of training by bin.")
        for labels, rows in zip(self._labels, self._reference, strict=True):
            yield f"{names.INPUTS_TRAINED}{{{version},{labels}}} {rows}"
        yield from exposition.header(names.INPUTS_NATURAL, "gauge", "PSI by which parts of training differ from all.")
        for labels, natural in self._natural.items():
            yield f"{names.INPUTS_NATURAL}{{{version},{labels}}} {natural:.6g}"
        attributed = {arm: counts.attributions for arm, counts in arms.items()}
        yield from attribution_lines(self._identity, self._attributions, attributed)


def _bins(profile: Profile) -> Iterator[tuple[str, int]]:
    """Labels of each cell and the rows of training in it: of columns, of pairs, of the score."""
    for column in profile.columns:
        yield from _column_bins(column)
    for pair in profile.pairs:
        feature, other = profile.columns[pair.first].name, profile.columns[pair.second].name
        for cell, rows in zip(np.ndindex(LEVELS, LEVELS), pair.rows, strict=True):
            named = ".".join("none" if level == NO_LEVEL else str(level) for level in cell)
            yield exposition.labels(feature=feature, other=other, bin=named), rows
    yield from _column_bins(profile.score)


def _column_bins(column: Column) -> Iterator[tuple[str, int]]:
    for named, rows in zip(column.bins, column.rows, strict=True):
        yield exposition.labels(feature=column.name, bin=named), rows


def _natural(profile: Profile) -> Iterator[tuple[str, float]]:
    for column in (*profile.columns, profile.score):
        yield exposition.labels(feature=column.name), column.natural
    for pair in profile.pairs:
        feature, other = profile.columns[pair.first].name, profile.columns[pair.second].name
        yield exposition.labels(feature=feature, other=other), pair.natural
