"""Have the inputs of a version moved away from those of its training, or the canary's from the champion's?

Every few minutes the counts of a window are compared, column by column and pair by pair. A column **drifts** when two
windows in a row lie further away than is tolerated *and* explained: than

    TOLERATED + what parts of training's own time differ by + what chance does to so few rows (`perch.core.chance`).

**False alarms.** That a window exceeds the last part by chance has the probability `level`, and that two do, its
square; of a column, which is compared in two ways, four times that. What comes of it in the 2,016 windows of a week is
held to a quarter of an alarm (`perch.core.streak.level_of`). An alarm ends when two windows in a row are within.

**What this is not.** Drift against training is a property of the world, so it never blames a canary; and a canary whose
inputs differ from the champion's of the same minutes was given other traffic, or reads it otherwise. That its scores
differ is what it is tried for: they are shown, and weighed by the rollout.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isqrt
from typing import Final

from perch.core import attributions
from perch.core.attributions import Attributed, AttributionReading
from perch.core.chance import RATIOS, Counts, dispersion, limit, prior_of, repetition
from perch.core.divergence import jensen_shannon, shares, stability_index
from perch.core.movement import Kind, moved
from perch.core.streak import LEAST_ROWS, Streak, level_of

WINDOW_ROWS: Final = 200
"""A window is closed after five minutes, when it holds so many requests of the champion."""

TOLERATED: Final = 0.05
"""PSI that nobody minds. By custom 0.1 is a small change and 0.25 a large one."""

SCORE: Final = "_score"


@dataclass(frozen=True, slots=True)
class Counted:
    """What one column, or a pair of columns, was counted as in a window, and what it is compared with."""

    feature: str
    other: str
    """Empty for a column by itself."""

    bins: tuple[str, ...]
    expected: Counts
    found: Counts
    natural: float = 0.0
    """PSI that is tolerated beside `TOLERATED`."""

    previous: Counts | None = None
    """What was found in the window before, to see how much rows repeat; `None`: not known."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a column or a pair stood at the end of the last window, and for how long."""

    feature: str
    other: str
    against: str
    """`training`, or `champion` for a canary."""

    rows: int
    psi: float
    """Of all bins; or of what is missing, odd and neither, where that is nearer to its limit."""

    jensen_shannon: float
    limit: float
    """PSI above which two windows in a row are a drift."""

    missing: float
    """Share of the rows without a value."""

    missing_before: float
    kind: Kind
    sentence: str
    """What differs most, whether it is much or not."""

    drifts: bool = False
    streak: int = 0
    """Windows in a row that contradict `drifts`."""

    since_s: float | None = None
    """Beginning of the first window beyond the limit; `None`: the last one is within it, and it does not drift."""

    ratios: tuple[float, ...] = ()
    """Of the last windows, see `perch.core.chance.repetition`. One in which a drift begins is an outlier, which a
    median bears."""


@dataclass(frozen=True, slots=True)
class Window:
    """What was counted in one window."""

    began_s: float
    ended_s: float
    champion: int
    canary: int | None
    trained: tuple[Counted, ...]
    """The champion against its training."""

    split: tuple[Counted, ...] = ()
    """The canary against the champion."""

    attributed: tuple[Attributed, ...] = ()
    """What the champion's inputs added to its scores."""


@dataclass(frozen=True, slots=True)
class State:
    """What is remembered between two windows."""

    champion: int | None = None
    canary: int | None = None
    looked_s: float | None = None
    """End of the last window, in seconds since the epoch."""

    readings: Mapping[str, Reading] = field(default_factory=dict)
    attributions: Mapping[str, AttributionReading] = field(default_factory=dict)
    """By input: what it adds to the champion's scores."""


def judged(state: State, window: Window) -> State:
    """The state after one more window. Another champion, or canary, is seen for the first time."""
    level = level_of(1 if one.other else 2 for one in (*window.trained, *window.split))  # as `_nearest` compares
    trained = state.readings if window.champion == state.champion else {}
    split = state.readings if (window.champion, window.canary) == (state.champion, state.canary) else {}
    context = _Context(level, prior_of(_repetitions(window.trained)), window.began_s)
    readings = {
        **_readings(trained, window.trained, "training", context),
        **_readings(split, window.split, "champion", context),
    }
    known = state.attributions if window.champion == state.champion else {}
    added = attributions.judged(known, window.attributed, window.began_s)
    return State(window.champion, window.canary, window.ended_s, readings, added)


@dataclass(frozen=True, slots=True)
class _Context:
    """What all readings of a window share."""

    level: float
    repeats: float
    """Taken for how often rows come, where a column has not told itself."""

    began_s: float


def _repetitions(counted: Iterable[Counted]) -> list[float]:
    """How often rows came in this window, by each column that tells."""
    found = (None if one.previous is None else repetition(one.previous, one.found) for one in counted)
    return [ratio for ratio in found if ratio is not None]


def _readings(
    known: Mapping[str, Reading], counted: Iterable[Counted], against: str, context: _Context
) -> Mapping[str, Reading]:
    found = {}
    for one in counted:
        key = f"{against} {one.feature} {one.other}".rstrip()
        found[key] = _reading(known.get(key), one, against, context)
    return found


def _reading(before: Reading | None, counted: Counted, against: str, context: _Context) -> Reading:
    known = () if before is None else before.ratios
    rows = sum(counted.found)
    psi, tolerated = _nearest(counted, dispersion(known, context.repeats), context.level)
    p, q = shares(counted.expected), shares(counted.found)
    kind, sentence = moved(counted.feature, counted.other, counted.bins, p.tolist(), q.tolist())
    has_missing = counted.bins[-1] == "missing"
    reading = Reading(
        feature=counted.feature,
        other=counted.other,
        against=against,
        rows=rows,
        psi=psi,
        jensen_shannon=float(jensen_shannon(p, q)),
        limit=tolerated,
        missing=counted.found[-1] / max(rows, 1) if has_missing else 0.0,
        missing_before=counted.expected[-1] / max(sum(counted.expected), 1) if has_missing else 0.0,
        kind=kind,
        sentence=sentence,
        ratios=(*known, *_repetitions([counted]))[-RATIOS:],
    )
    is_told = not (counted.other and _is_whole(counted)) and (against, counted.feature) != ("champion", SCORE)
    return _followed(before, reading, context.began_s, is_beyond=is_told and psi > tolerated)


def _nearest(counted: Counted, repeats: float, level: float) -> tuple[float, float]:
    """The PSI and its limit: of all bins, or of oddities alone, which no time of the day explains."""
    rows = sum(counted.found)
    compared = [(counted.expected, counted.found, counted.natural)]
    if not counted.other:
        compared.append((_oddities(counted.bins, counted.expected), _oddities(counted.bins, counted.found), 0.0))
    found = [
        (
            float(stability_index(shares(before), shares(after))),
            TOLERATED + natural + limit(before, rows, level, repeats),
        )
        for before, after, natural in compared
    ]
    return max(found, key=lambda one: one[0] / one[1])


def _oddities(bins: Sequence[str], counts: Counts) -> Counts:
    """Rows that are missing, that are below or above or otherwise none of training's values, and the others."""
    if "+Inf" in bins:
        return (counts[-1], counts[0], counts[-2], sum(counts[1:-2]))
    odd = [count for name, count in zip(bins, counts, strict=True) if name in {"missing", "unseen"}]
    return (*odd, sum(counts) - sum(odd))


def _is_whole(pair: Counted) -> bool:
    """Whether at least half of what makes two columns depend on each other is there, as they are now."""
    return _dependence(pair.found) > _dependence(pair.expected) / 2


def _dependence(counts: Counts) -> float:
    """PSI of a square table of two columns against one in which each has come to any row of the other."""
    joint = shares(counts).reshape(isqrt(len(counts)), -1)
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    return float(stability_index(joint.ravel(), apart.ravel()))


def _followed(before: Reading | None, reading: Reading, began_s: float, *, is_beyond: bool) -> Reading:
    """The reading with what it makes of the ones before. Too few rows leave everything as it was."""
    streak = Streak() if before is None else Streak(before.drifts, before.streak, before.since_s)
    if reading.rows >= LEAST_ROWS:
        streak = streak.after(began_s, is_beyond=is_beyond)
    return replace(reading, drifts=streak.drifts, streak=streak.contrary, since_s=streak.since_s)


@dataclass(frozen=True, slots=True)
class Finding:
    """An input that drifts, or several of which one does."""

    features: tuple[str, ...]
    against: str
    kind: Kind
    since_s: float
    sentence: str


def findings(state: State) -> tuple[Finding, ...]:
    """The inputs that drift, the earliest first, or what they add to the scores. The score is none of them."""
    columns = [r for r in state.readings.values() if r.drifts and not r.other and r.feature != SCORE]
    found = [Finding((r.feature,), r.against, r.kind, _since(r), _told(r)) for r in columns]
    found += _swapped([r for r in state.readings.values() if r.other], {r.feature for r in columns})
    found += [
        Finding((feature,), "training", Kind.ATTRIBUTION, since_s, reading.sentence)
        for feature, reading in state.attributions.items()
        if reading.drifts and (since_s := reading.since_s) is not None
    ]
    return tuple(sorted(found, key=lambda finding: finding.since_s))


def suspected(state: State) -> tuple[str, ...]:
    """What the champion has beyond its limit in one window, against training; a second in a row makes it a drift."""
    read = [r for r in state.readings.values() if r.against == "training" and _is_suspected(r)]
    named = ("the scores" if r.feature == SCORE else " with ".join(filter(None, _both(r))) for r in read)
    added = (f"what {feature} adds" for feature, r in state.attributions.items() if _is_suspected(r))
    return (*named, *added)


def _is_suspected(reading: Reading | AttributionReading) -> bool:
    return reading.since_s is not None and not reading.drifts


def score_drift(state: State) -> Reading | None:
    """The champion's scores, when they drift against those of its training."""
    reading = state.readings.get(f"training {SCORE}")
    return reading if reading is not None and reading.drifts else None


def _since(reading: Reading) -> float:
    assert reading.since_s is not None, "what drifts has begun to"
    return reading.since_s


def _told(reading: Reading) -> str:
    whose = "" if reading.against == "training" else "At the canary, against the champion: "
    return f"{whose}{reading.sentence} Its PSI is {reading.psi:.2f}, and {reading.limit:.2f} is tolerated."


def _swapped(pairs: Sequence[Reading], moved_alone: set[str]) -> list[Finding]:
    """What no longer goes together, where both columns by themselves are as they were.

    To blame is the column of which most pairs are torn: one that is whole elsewhere has its values in the right rows.
    """
    torn = [pair for pair in pairs if pair.drifts and not {pair.feature, pair.other} & moved_alone]
    found = []
    while torn:
        parts = {
            name: sum(name in _both(pair) for pair in torn) / sum(name in _both(pair) for pair in pairs)
            for pair in torn
            for name in _both(pair)
        }
        counts = {name: sum(name in _both(pair) for pair in torn) for name in parts}
        worst = max(parts, key=lambda name: (parts[name], counts[name]))
        tied = {name for pair in torn if worst in _both(pair) for name in _both(pair)}
        blamed = tuple(sorted(n for n in tied if (parts[n], counts[n]) == (parts[worst], counts[worst])))
        of_it = [pair for pair in torn if set(_both(pair)) & set(blamed)]
        found.append(_swap(blamed, of_it))
        torn = [pair for pair in torn if pair not in of_it]
    return found


def _swap(blamed: tuple[str, ...], torn: Sequence[Reading]) -> Finding:
    others = sorted({name for pair in torn for name in _both(pair)} - set(blamed))
    subject = " or ".join(blamed)
    together = f" with {' and '.join(others)}" if others else " together"
    worst = max(torn, key=lambda pair: pair.psi / pair.limit)
    sentence = (
        f"{subject} no longer goes{together}, as if its values had come to the wrong rows: by itself it is as it was."
        f" Their joint PSI is {worst.psi:.2f}, and {worst.limit:.2f} is tolerated."
    )
    return Finding(blamed, torn[0].against, Kind.SWAPPED, min(map(_since, torn)), sentence)


def _both(pair: Reading) -> tuple[str, str]:
    return pair.feature, pair.other
