"""A summary of all events as Prometheus' text. Every sample is a counter or a plain count, so sums over pods hold."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from perch.signals import exposition, names
from perch.signals.fairness import Gap
from perch.signals.inspection import Inspection
from perch.signals.quality import EDGES, MATURED, Quality, clicks_above
from perch.signals.summary import Summary

_BINS = (*(f"{edge:g}" for edge in EDGES), "+Inf")


def render(summary: Summary, gaps: Sequence[Gap] = ()) -> bytes:
    """The page of a summary, and of gaps between groups of people."""
    parts = (_outcomes, _parked, _quality, _compared, _inspected)
    return exposition.document([*(line for part in parts for line in part(summary)), *_unfair(gaps)])


def _outcomes(summary: Summary) -> Iterator[str]:
    yield from exposition.header(f"{names.OUTCOME_JOINS}_total", "counter", "Outcomes by what became of them.")
    for tally in summary.tallies:
        of = exposition.labels(model=tally.model, version=tally.version, arm=tally.arm, result=tally.result)
        yield f'{names.OUTCOME_JOINS}_total{{{of},source="{tally.source}"}} {tally.outcomes}'
    yield from exposition.header(f"{names.CLICKS}_total", "counter", "Outcomes that were clicks and joined.")
    for tally in summary.tallies:
        if tally.result == "joined" and tally.source == "click":
            of = exposition.labels(model=tally.model, version=tally.version, arm=tally.arm)
            yield f"{names.CLICKS}_total{{{of}}} {tally.clicks}"
    yield from exposition.header(names.OUTCOMES_PENDING, "gauge", "Outcomes that wait for their prediction.")
    yield f"{names.OUTCOMES_PENDING} {summary.pending}"


def _parked(summary: Summary) -> Iterator[str]:
    name = f"{names.PREDICTIONS_PARKED}_total"
    yield from exposition.header(name, "counter", "Predictions that were not taken.")
    for reason, events in summary.parked_predictions.items():
        yield f'{name}{{reason="{reason}"}} {events}'


def _quality(summary: Summary) -> Iterator[str]:
    for name, field, promise in _SUMS:
        yield from exposition.header(f"{name}_total", "counter", promise)
        for one in summary.quality:
            yield f"{name}_total{{{_of(one)}}} {getattr(one.total, field)!r}"
    for number, (name, promise) in enumerate(_BINNED):
        yield from exposition.header(f"{name}_total", "counter", promise)
        for one in summary.quality:
            if one.slice:
                continue
            for edge, values in zip(_BINS, _by_bin(one), strict=True):
                yield f'{name}_total{{{_of(one)},bin="{edge}"}} {values[number]!r}'


def _compared(summary: Summary) -> Iterator[str]:
    name = names.EVIDENTLY_WINDOWS
    yield from exposition.header(name, "gauge", "Windows in which Evidently compared what two versions were given.")
    for one in summary.compared:
        yield f"{name}{{{exposition.labels(stable=one.stable, canary=one.canary)}}} {one.windows}"
    yield from exposition.header(names.EVIDENTLY_P_VALUE, "gauge", "P-value of the last of them.")
    for one in summary.compared:
        of = exposition.labels(stable=one.stable, canary=one.canary)
        yield f"{names.EVIDENTLY_P_VALUE}{{{of}}} {one.p_value!r}"


def _inspected(summary: Summary) -> Iterator[str]:
    if summary.inputs_kept_s is not None:
        yield from exposition.header(names.INPUTS_KEPT, "gauge", "When the last request came whose inputs are kept.")
        yield f"{names.INPUTS_KEPT} {summary.inputs_kept_s!r}"
    for name, promise, samples in _INSPECTED:
        yield from exposition.header(name, "gauge", promise)
        for one in summary.inspections:
            for further, value in samples(one):
                yield f"{name}{{{exposition.labels(model=one.model, version=one.version, **further)}}} {value!r}"


_Samples: TypeAlias = Iterable[tuple[dict[str, str], float]]
_INSPECTED: tuple[tuple[str, str, Callable[[Inspection], _Samples]], ...] = (
    (names.INSPECTED, "When a version was last inspected.", lambda one: [({}, one.made_s)]),
    (names.INSPECTED_REQUESTS, "Requests that were inspected.", lambda one: [({}, one.requests)]),
    (
        names.DRIFTING_SHARE,
        "Share of their columns that are not what they were in training.",
        lambda one: [({}, sum(c.drifts for c in one.columns) / len(one.columns))] if one.columns else [],
    ),
    (
        names.DRIFT_DISTANCE,
        "Distance of a column from what it was in training.",
        lambda one: [({"feature": c.column}, c.distance) for c in one.columns],
    ),
    (
        names.DRIFT_THRESHOLD,
        "From which distance on the column drifts.",
        lambda one: [({"feature": c.column}, c.threshold) for c in one.columns],
    ),
    (
        names.SKEW_EQUAL_SHARE,
        "Share of the requests of which training makes the same feature.",
        lambda one: [({"feature": f.feature}, f.equal / f.requests) for f in one.features if f.requests],
    ),
)


def _unfair(gaps: Sequence[Gap]) -> Iterator[str]:
    for name, field, promise in (
        (names.FAIRNESS_GAP, "estimate", "Largest gap of a group of people from all, as a share."),
        (names.FAIRNESS_GAP_PROVEN, "proven", "What of it is proven."),
    ):
        yield from exposition.header(name, "gauge", promise)
        for gap in gaps:
            of = exposition.labels(version=gap.version, arm=gap.arm, measure=gap.measure)
            yield f"{name}{{{of}}} {getattr(gap.figure, field)!r}"


_SUMS = (
    (names.QUALITY_REQUESTS, "requests", "Live requests whose labels are final, or are estimated."),
    (names.QUALITY_CLICKS, "clicks", "Those that were clicked."),
    (names.QUALITY_EXPECTED, "expected", "Sum of their scores."),
    (names.QUALITY_LOSS, "loss", "Sum of their log losses in nats."),
    (names.QUALITY_LOSS_SQUARED, "loss_squared", "Sum of their squared log losses."),
)

_BINNED = (
    (names.BIN_REQUESTS, "Live requests by the bin of their score."),
    (names.BIN_CLICKS, "Those that were clicked."),
    (names.BIN_EXPECTED, "Sum of their scores."),
    (names.BIN_CLICKS_ABOVE, "Clicks of higher scores, and half of those of the bin."),
)


def _of(one: Quality) -> str:
    labels = {"model": one.model, "version": one.version, "arm": one.arm, "slice": one.slice, "part": one.part}
    return exposition.labels(labels="final" if one.kind == MATURED else "estimated", **labels)


def _by_bin(one: Quality) -> Iterator[tuple[float, ...]]:
    for sums, above in zip(one.bins, clicks_above(one.bins), strict=True):
        yield sums.requests, sums.clicks, sums.expected, above
