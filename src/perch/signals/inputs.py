"""What serving processes tell of their inputs: pages are read, differences taken, and windows made of them. Pure."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import sub
from typing import Final, TypeVar

from perch.core.inputs import Counted
from perch.signals import names
from perch.signals.attributions import Attributions, parse_attributions

Number = TypeVar("Number", int, float)

Cells = tuple[int, ...]
"""Counts of all bins of all sketches of a version, one sketch after another."""

MISSING: Final = "missing"
_OTHER: Final = "other"
_OPEN: Final = "+Inf"
_MOST: Final = 2**53
_TEXT: Final = r'"((?:[^"\\\n]|\\.)*)"'

_SAMPLE: Final = re.compile(
    rf"^({names.INPUTS}_total|{names.INPUTS_TRAINED}|{names.INPUTS_NATURAL})"
    rf"\{{model={_TEXT},version={_TEXT}(?:,arm={_TEXT})?,feature={_TEXT}(?:,other={_TEXT})?(?:,bin={_TEXT})?\}} (\S+)$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Sketch:
    """How a column, or a pair of columns, is counted, and how training looked."""

    feature: str
    other: str
    """Empty for a column by itself."""

    bins: tuple[str, ...]
    trained: Cells
    natural: float


@dataclass(frozen=True, slots=True)
class Inputs:
    """What one serving process told of its inputs since it started."""

    sketches: tuple[Sketch, ...]
    """None: it does not count them."""

    arms: Mapping[str, Cells]
    """Arms without requests are absent."""

    attributions: Attributions = Attributions()  # noqa: RUF009  it is frozen


def parse_inputs(text: str) -> Inputs:
    """Read the page of a serving process, as `perch.serving.sketches` writes it.

    Raises:
        ValueError: it is none, or says what cannot be.
    """
    trained: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    natural: dict[tuple[str, str], float] = {}
    arms: dict[str, dict[tuple[str, str, str], int]] = defaultdict(dict)
    for family, _, _, arm, feature, other, bin_, value in _SAMPLE.findall(text):
        if family == names.INPUTS_NATURAL:
            natural[feature, other] = _number(value)
        elif family == names.INPUTS_TRAINED:
            trained[feature, other][bin_] = int(_number(value))
        else:
            arms[arm][feature, other, bin_] = int(_number(value))
    if text.startswith(names.INPUTS_ABSENT):
        return Inputs((), {})
    if not trained:
        raise ValueError("this is not the page of a process that counts its inputs")
    try:
        sketches = tuple(Sketch(*key, tuple(rows), tuple(rows.values()), natural[key]) for key, rows in trained.items())
        cells = [(sketch.feature, sketch.other, name) for sketch in sketches for name in sketch.bins]
        counted = {arm: tuple(counts[cell] for cell in cells) for arm, counts in arms.items()}
    except KeyError as error:
        raise ValueError(f"the page lacks {error}") from None
    return Inputs(sketches, counted, parse_attributions(text))


def _number(text: str) -> float:
    number = float(text)
    if not 0 <= number <= _MOST:  # nor is it NaN
        raise ValueError(f"nobody counts {text}")
    return number


def inputs_difference(previous: tuple[Number, ...] | None, current: tuple[Number, ...]) -> tuple[Number, ...]:
    """What was counted between two readings; a process that restarted counts from zero."""
    if previous is None or len(previous) != len(current):
        return current
    difference = tuple(map(sub, current, previous))
    return current if min(difference, default=0) < 0 else difference


def summed(counts: Iterable[tuple[Number, ...]]) -> tuple[Number, ...] | None:
    """The sum of what several processes counted; `None` of none."""
    parts = [*counts]
    return tuple(map(sum, zip(*parts, strict=True))) if parts else None


def against_training(sketches: tuple[Sketch, ...], found: Cells, previous: Cells | None) -> tuple[Counted, ...]:
    """The counts of a window beside those of training, and of the window before."""
    counted, start = [], 0
    for sketch in sketches:
        stop = start + len(sketch.bins)
        past = None if previous is None else previous[start:stop]
        counted.append(
            Counted(sketch.feature, sketch.other, sketch.bins, sketch.trained, found[start:stop], sketch.natural, past)
        )
        start = stop
    return tuple(counted)


def against_champion(champion: tuple[Counted, ...], canary: tuple[Counted, ...]) -> tuple[Counted, ...]:
    """The canary's columns beside those of the champion in the same window, in the bins that both versions have."""
    known = {one.feature: one for one in champion if not one.other}
    return tuple(
        found
        for one in canary
        if not one.other and one.feature in known and (found := _shared(known[one.feature], one)) is not None
    )


def _shared(champion: Counted, canary: Counted) -> Counted | None:
    if (_OPEN in champion.bins) != (_OPEN in canary.bins):
        return None
    common = set(champion.bins) & set(canary.bins)
    bins, expected = _merged(champion.bins, champion.found, common)
    _, found = _merged(canary.bins, canary.found, common)
    return Counted(canary.feature, "", bins, expected, found)


def _merged(bins: tuple[str, ...], counts: Cells, common: set[str]) -> tuple[tuple[str, ...], Cells]:
    """Counts in the common bins. A number goes to the next common edge; a level is another one in each version."""
    merged: dict[str, int] = {}
    waiting = 0
    is_number = _OPEN in bins
    for name, count in zip(bins, counts, strict=True):
        if name in common and (is_number or name == MISSING or name.startswith("#")):
            merged[name] = count + (waiting if is_number else 0)
            waiting = 0 if is_number else waiting
        else:
            waiting += count
    if is_number:
        return tuple(merged), tuple(merged.values())
    missing = merged.pop(MISSING, 0)
    named = {name: merged[name] for name in sorted(merged)} | {_OTHER: waiting, MISSING: missing}
    return tuple(named), tuple(named.values())
