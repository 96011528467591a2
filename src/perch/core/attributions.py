"""Does an input add to the scores what it added in training?

What an input adds to a row's log-odds depends on the other inputs, too. So it moves where a combination does that no
column and no pair shows; and it says how much a move matters, where PSI says how far it is. Two figures of a window
are compared: the **mean**, by which all scores go up or down, and the **magnitude**, the mean without the signs, which
falls when an input no longer tells rows apart. An attribution **drifts** when in two windows in a row one of them
differs from training by more than

    TOLERATED + what parts of training's own time differ by + what chance does to the means of so few rows.

The level of the last part comes from the number of figures, as in `perch.core.inputs`: both together raise half a
false alarm a week. Means are nearly normal at thirty rows and more, since no tree and no weight adds without bound.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from statistics import NormalDist, median
from typing import Final

from perch.core.chance import RATIOS, dispersion, prior_of
from perch.core.streak import LEAST_ROWS, Streak, level_of

TOLERATED: Final = 0.05
"""Log-odds that nobody minds: a twentieth of the clicks more, or less."""

_FIGURES: Final = 2
"""Of an input: mean and magnitude."""

_MEDIAN: Final = NormalDist().inv_cdf(0.75) ** 2
"""Of a chi-square variable with one degree of freedom."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What an input added to the log-odds of some rows."""

    rows: int
    mean: float
    magnitude: float
    """Mean without the signs."""

    square: float
    """Mean of the squares."""

    def variance(self, figure: float) -> float:
        """Of a row, about the mean, or about the magnitude without its sign."""
        return max(self.square - figure**2, 0.0)


@dataclass(frozen=True, slots=True)
class Attributed:
    """What one input added in a window, and what it is compared with."""

    feature: str
    trained: Sample
    natural: tuple[float, float]
    """Differences of mean and of magnitude that are tolerated beside `TOLERATED`."""

    found: Sample
    previous: Sample | None = None
    """In the window before, to see how much rows repeat; `None`: not known."""


@dataclass(frozen=True, slots=True)
class AttributionReading:
    """How an attribution stood at the end of the last window, and for how long."""

    feature: str
    rows: int
    mean: float
    trained_mean: float
    magnitude: float
    trained_magnitude: float
    difference: float
    """Of the means, or of the magnitudes: of those that are nearer to their limit."""

    limit: float
    """Difference above which two windows in a row are a drift."""

    sentence: str
    """How these differ, whether it is much or not."""

    drifts: bool = False
    streak: int = 0
    since_s: float | None = None
    """As in `perch.core.inputs.Reading`."""

    ratios: tuple[float, ...] = ()
    """Of the last windows: the variance between two, as a multiple of what single rows have."""


def judged(
    known: Mapping[str, AttributionReading], window: Sequence[Attributed], began_s: float
) -> Mapping[str, AttributionReading]:
    """The readings after one more window, by input."""
    told = {one.feature: _repetition(one) for one in window}
    past = {one.feature: known[one.feature].ratios if one.feature in known else () for one in window}
    error = NormalDist().inv_cdf(1 - level_of(_FIGURES for _ in window) / 2)  # of either sign
    repeats = _repeats(past, prior_of([ratio for ratios in told.values() for ratio in ratios]))
    readings = {}
    for one in window:
        name = one.feature
        reading = replace(_reading(one, error, repeats[name]), ratios=(*past[name], *told[name])[-RATIOS:])
        readings[name] = _followed(known.get(name), reading, began_s)
    return readings


def _repeats(past: Mapping[str, Sequence[float]], prior: float) -> Mapping[str, float]:
    """How often each row comes, by input: as often as most inputs say, for one alone says little; or more often."""
    own = {feature: dispersion(ratios, prior) for feature, ratios in past.items()}
    most = median(own.values()) if own else 1.0
    return {feature: max(repeats, most) for feature, repeats in own.items()}


def _reading(one: Attributed, error: float, repeats: float) -> AttributionReading:
    now, then = one.found, one.trained
    adds = f"{one.feature} adds {now.mean:+.2f} to the log-odds, and added {then.mean:+.2f} in training"
    moves = (
        f"{one.feature} moves the log-odds by {now.magnitude:.2f} either way, and moved them by {then.magnitude:.2f} "
        "in training"
    )
    found = [
        (abs(figure - trained), TOLERATED + natural + error * _deviation(one, figure, trained, repeats), said)
        for figure, trained, natural, said in (
            (now.mean, then.mean, one.natural[0], adds),
            (now.magnitude, then.magnitude, one.natural[1], moves),
        )
    ]
    difference, limit, said = max(found, key=lambda compared: compared[0] / compared[1])
    sentence = f"{said}: {limit:.2f} more or less are tolerated."
    return AttributionReading(
        one.feature, now.rows, now.mean, then.mean, now.magnitude, then.magnitude, difference, limit, sentence
    )


def _deviation(one: Attributed, figure: float, trained: float, repeats: float) -> float:
    """Standard deviation that the difference of a figure has by chance."""
    # in a few rows, or where an input is constant, rows are more alike than chance would have them
    variance = max(one.found.variance(figure), one.trained.variance(trained))
    return sqrt(variance * (repeats / max(one.found.rows, 1) + 1 / max(one.trained.rows, 1)))


def _repetition(one: Attributed) -> tuple[float, ...]:
    """The squared difference of two windows' means, over the median that it has by chance; empty: it does not tell."""
    past, now = one.previous, one.found
    if past is None or min(past.rows, now.rows) < LEAST_ROWS:
        return ()
    variance = past.variance(past.mean) / past.rows + now.variance(now.mean) / now.rows
    return (round((now.mean - past.mean) ** 2 / variance / _MEDIAN, 3),) if variance else ()


def _followed(before: AttributionReading | None, reading: AttributionReading, began_s: float) -> AttributionReading:
    """The reading with what it makes of the ones before. Too few rows leave everything as it was."""
    streak = Streak() if before is None else Streak(before.drifts, before.streak, before.since_s)
    if reading.rows >= LEAST_ROWS:
        streak = streak.after(began_s, is_beyond=reading.difference > reading.limit)
    return replace(reading, drifts=streak.drifts, streak=streak.contrary, since_s=streak.since_s)
