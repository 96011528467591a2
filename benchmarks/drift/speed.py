"""What it takes to compare a million rows of twenty columns with a reference, beside Evidently on the same bins."""

import os
import time
import tracemalloc
import warnings
from dataclasses import dataclass

import numpy as np

from perch.core.divergence import binned, jensen_shannon, stability_index

NUMBERS, CATEGORIES = 14, 6
_BINS, _VALUES = 16, 30


@dataclass(frozen=True, slots=True)
class Took:
    """What a comparison of all columns took, and what it found."""

    rows: int
    cpu_s: float
    mb: float
    """At the peak, above the data."""

    psi: np.ndarray
    js: np.ndarray


def tables(rows):
    """A reference and a sample: numbers, and categories as codes, as a log has them once it is read."""
    rng = np.random.default_rng(0)
    reference = [rng.normal(0, 1, rows) for _ in range(NUMBERS)]
    sample = [rng.normal(0.1, 1, rows) for _ in range(NUMBERS)]
    weights = 1 / np.arange(1, _VALUES + 1)
    reference += [rng.choice(_VALUES, rows, p=weights / weights.sum()).astype(np.int32) for _ in range(CATEGORIES)]
    sample += [rng.choice(_VALUES, rows, p=np.sqrt(weights) / np.sqrt(weights).sum()) for _ in range(CATEGORIES)]
    return reference, [column.astype(old.dtype) for column, old in zip(sample, reference, strict=True)]


def edges_of(reference):
    """Edges of a profile: quantiles of a part of the reference."""
    return [np.quantile(column[:50_000], np.arange(1, _BINS) / _BINS) for column in reference[:NUMBERS]]


def ours(rows):
    """Count a sample in the bins of the reference, whose counts are known, and compare."""
    reference, sample = tables(rows)
    edges = edges_of(reference)
    expected = _counts(reference, edges)
    tracemalloc.start()
    began = time.process_time()
    found = _counts(sample, edges)
    pairs = [(p / p.sum(), q / q.sum()) for p, q in zip(expected, found, strict=True)]
    psi, js = (np.array([measure(p, q) for p, q in pairs]) for measure in (stability_index, jensen_shannon))
    took = time.process_time() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return Took(rows, took, peak / 2**20, psi, js)


def _counts(columns, edges):
    counted = [binned(column, cuts)[:-1] for column, cuts in zip(columns[:NUMBERS], edges, strict=True)]
    return counted + [np.bincount(column, minlength=_VALUES) for column in columns[NUMBERS:]]


def evidently(rows):
    """The same figures by Evidently. Numbers are put into the same bins first, which is not in its time."""
    os.environ["DO_NOT_TRACK"] = "1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pandas as pd
        from evidently import DataDefinition, Dataset, Report
        from evidently.metrics import ValueDrift

        reference, sample = tables(rows)
        edges = edges_of(reference)
        names = [f"c{i}" for i in range(NUMBERS + CATEGORIES)]
        frames = [
            pd.DataFrame(
                {
                    name: np.char.add("b", (np.searchsorted(edges[i], column) if i < NUMBERS else column).astype(str))
                    for i, (name, column) in enumerate(zip(names, table, strict=True))
                }
            )
            for table in (sample, reference)
        ]
        definition = DataDefinition(categorical_columns=names)
        methods = ("psi", "jensenshannon")
        began = time.process_time()
        report = Report([ValueDrift(column=name, method=how, threshold=0.1) for how in methods for name in names])
        found = report.run(*(Dataset.from_pandas(frame, definition) for frame in frames)).dict()
        took = time.process_time() - began
    values = np.array([float(metric["value"]) for metric in found["metrics"]]).reshape(2, -1)
    return Took(rows, took, float("nan"), *values)


def tell(*, quick):
    """Print both, and how far they are apart."""
    rows = 1_000_000
    mine = ours(rows)
    print(f"perch      {rows:>9,} rows x 20: {mine.cpu_s:8.2f} CPU s, {mine.mb:6.1f} MB above the data")
    few = ours(10_000 if quick else 100_000)
    theirs = evidently(few.rows)
    print(f"perch      {few.rows:>9,} rows x 20: {few.cpu_s:8.4f} CPU s")
    print(f"Evidently  {theirs.rows:>9,} rows x 20: {theirs.cpu_s:8.2f} CPU s, bins made before")
    print(f"ratio at {few.rows:,} rows: {theirs.cpu_s / few.cpu_s:,.0f}")
    apart = max(np.abs(few.psi - theirs.psi).max(), np.abs(few.js - theirs.js).max())
    print(f"largest difference in PSI and Jensen-Shannon over the columns: {apart:.1e}")
    return {
        "rows": rows,
        "cpu_s": mine.cpu_s,
        "mb": mine.mb,
        "beside": few.rows,
        "ratio": theirs.cpu_s / few.cpu_s,
        "apart": float(apart),
    }
