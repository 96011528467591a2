"""What serving processes tell of what their inputs add to scores: pages are read, and samples made of them. Pure."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Final

from perch.core.attributions import Attributed, Sample
from perch.signals import names

Sums = tuple[float, ...]
"""Rows; then of each input what it added above 0, below 0, and squared."""

_EACH: Final = (names.ATTRIBUTION_UP, names.ATTRIBUTION_DOWN, names.ATTRIBUTION_SQUARED)
_TEXT: Final = r'"((?:[^"\\\n]|\\.)*)"'

_SAMPLE: Final = re.compile(
    rf"^({names.ATTRIBUTED}_total|(?:{'|'.join(_EACH)})_total|{names.ATTRIBUTION_TRAINED})"
    rf"\{{model={_TEXT},version={_TEXT}(?:,arm={_TEXT})?(?:,feature={_TEXT})?(?:,figure={_TEXT})?\}} (\S+)$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Trained:
    """What an input added in training."""

    feature: str
    sample: Sample
    natural: tuple[float, float]
    """Of the mean, and of the magnitude: see `perch.core.attributions.Attributed`."""


@dataclass(frozen=True, slots=True)
class Attributions:
    """What one serving process told since it started."""

    trained: tuple[Trained, ...] = ()
    """None: it does not tell."""

    arms: Mapping[str, Sums] = field(default_factory=dict)
    """Arms without attributed requests are absent."""


def parse_attributions(text: str) -> Attributions:
    """Read the page of inputs of a serving process, as `perch.serving.attributing` writes it.

    Raises:
        ValueError: it says what cannot be.
    """
    trained: dict[str, dict[str, float]] = defaultdict(dict)
    arms: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    for family, _, _, arm, feature, figure, value in _SAMPLE.findall(text):
        number = float(value)
        if not isfinite(number):
            raise ValueError(f"nobody adds {value}")
        if family == names.ATTRIBUTION_TRAINED:
            trained[feature][figure] = number
        else:
            arms[arm][family, feature] = number
    try:
        told = tuple(_trained(feature, figures) for feature, figures in trained.items())
        sums = [(f"{names.ATTRIBUTED}_total", ""), *((f"{name}_total", one.feature) for one in told for name in _EACH)]
        return Attributions(told, {arm: tuple(found[key] for key in sums) for arm, found in arms.items()})
    except KeyError as error:
        raise ValueError(f"the page lacks {error}") from None


def _trained(feature: str, figures: Mapping[str, float]) -> Trained:
    sample = Sample(int(figures["rows"]), figures["mean"], figures["magnitude"], figures["square"])
    return Trained(feature, sample, (figures["natural_mean"], figures["natural_magnitude"]))


def attributed(trained: tuple[Trained, ...], found: Sums, previous: Sums | None) -> tuple[Attributed, ...]:
    """The sums of a window beside training, and the window before."""
    return tuple(
        Attributed(
            one.feature,
            one.sample,
            one.natural,
            _sample(found, position),
            None if previous is None else _sample(previous, position),
        )
        for position, one in enumerate(trained)
    )


def _sample(sums: Sums, position: int) -> Sample:
    rows = int(sums[0])
    up, down, squared = (total / max(rows, 1) for total in sums[1 + 3 * position : 4 + 3 * position])
    return Sample(rows, up - down, up + down, squared)
