"""Says in a sentence how a column has moved: by what differs most between the shares of its bins."""

from collections.abc import Sequence
from enum import StrEnum
from math import log

_NEARLY_ALL = 0.99
_SELDOM = 0.9
_OPEN = "+Inf"


class Kind(StrEnum):
    """How a column differs."""

    MISSING = "missing"
    UNSEEN = "unseen"
    """Categories that training had not seen, or numbers beyond all of its."""

    CONSTANT = "constant"
    MOVED = "moved"
    SWAPPED = "swapped"
    """As it was by itself, but with the values of other rows."""

    ATTRIBUTION = "attribution"
    """Whatever it is like, the model makes something else of it."""


def moved(
    feature: str, other: str, bins: Sequence[str], before: Sequence[float], after: Sequence[float]
) -> tuple[Kind, str]:
    """How a column, or a pair of columns, has moved most, with the numbers.

    Args:
        feature: Name of the column.
        other: Name of the one that it is paired with; empty for a column by itself.
        bins: Names of the bins, as `perch.signals.names.INPUTS` has them.
        before: Shares of the bins that are compared with.
        after: Shares that were found.
    """
    if other:
        return Kind.SWAPPED, f"{feature} and {other} no longer go together."
    parts = [(q - p) * log(q / p) for p, q in zip(before, after, strict=True)]
    commonest, most = after.index(max(after)), parts.index(max(parts))
    if after[commonest] >= _NEARLY_ALL > _SELDOM > before[commonest] and bins[commonest] != "missing":
        shares = f"{after[commonest]:.1%} of the requests are {_place(bins, commonest)}, and {before[commonest]:.1%}"
        return Kind.CONSTANT, f"{feature} is constant: {shares} were."
    if bins[most] == "missing":
        return (
            Kind.MISSING,
            f"{feature} is missing in {after[most]:.1%} of the requests, and was in {before[most]:.1%}.",
        )
    if _is_odd(bins, most):
        shares = (
            f"{after[most]:.1%} of the requests have a {feature} that training had not seen, and {before[most]:.1%}"
        )
        return Kind.UNSEEN, f"{shares} had."
    return Kind.MOVED, f"{feature} has moved: {_move(bins, before, after)}."


def _is_odd(bins: Sequence[str], position: int) -> bool:
    """Whether a bin holds values unlike all of training's."""
    return position in {0, bins.index(_OPEN)} if _OPEN in bins else bins[position] == "unseen"


def _move(bins: Sequence[str], before: Sequence[float], after: Sequence[float]) -> str:
    if _OPEN in bins:
        low, high = _median(bins, before), _median(bins, after)
        times = f", {high / low:.2g} times that" if low > 0 else ""
        return f"half of it is above {high:.4g} now{times}, and was above {low:.4g}"
    grown = max(range(len(bins)), key=lambda position: after[position] - before[position])
    return f"{after[grown]:.1%} of the requests are {_place(bins, grown)}, and {before[grown]:.1%} were"


def _place(bins: Sequence[str], position: int) -> str:
    name = bins[position]
    if name == _OPEN:
        return f"above {bins[position - 1]}"
    if name.startswith("#"):
        return f"of one category ({name})"
    if name.startswith("level"):
        return "of seldom categories that are clicked alike"
    return f"in the bin up to {name}"


def _median(bins: Sequence[str], found: Sequence[float]) -> float:
    """The median by straight lines within the bins; the ends of the outer ones are taken for their inner edges."""
    edges = [float(name) for name in bins[: bins.index(_OPEN)]]
    half, below = (1 - found[-1]) / 2, 0.0
    lows, highs = (edges[0], *edges), (*edges, edges[-1])
    for low, high, part in zip(lows, highs, found, strict=False):
        if below + part >= half:
            return low + (high - low) * (half - below) / part
        below += part
    return edges[-1]
