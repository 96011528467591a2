"""What serving and the market tell the collector, as it goes over the wire (JSON lists of these).

Pods and collector are seldom of one age. So what is new has a default and is left out where it has that, who does not
know a key leaves it alone, and `format` says when that would no longer do.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

import msgspec

SHADOW = "shadow"

CLICK = "click"
"""Source of the outcomes that train, judge and promote a model."""

FORMAT = 1
"""Of events; it rises when a key that was known comes to mean something else."""

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]

RequestId = _Text
UserId = _Text
Source = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_]{0,31}$")]
TimeS: TypeAlias = Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]  # no infinity, no NaN
Amount: TypeAlias = Annotated[float, msgspec.Meta(ge=-1e15, le=1e15)]

_Count = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
Column = Annotated[str, msgspec.Meta(max_length=200)]
Category = Annotated[str, msgspec.Meta(max_length=1_000)]
Row: TypeAlias = Annotated[Mapping[Column, float | Category | None], msgspec.Meta(max_length=500)]
Features: TypeAlias = Annotated[Mapping[Column, float | None], msgspec.Meta(max_length=2_000)]
"""The numbers that a model reads, by feature; `None` is not a number."""


class Prediction(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A request was answered."""

    request_id: RequestId
    model: _Text
    version: _Text
    arm: _Text
    """As counted: a mirrored request, whose answer nobody saw, has the arm `shadow`."""

    time_s: TimeS
    """When it was answered, in seconds since the epoch."""

    score: Annotated[float, msgspec.Meta(ge=0, le=1)]
    """Predicted probability of the row that was shown: the best of a slate, else the first. Of a mirrored request: of
    the row that this version would have shown."""

    rows: _Count
    shown: _Count
    """Which of the rows that is, counted from 0."""

    user: UserId | None = None
    """Who was shown it, by an opaque id, where the request says."""

    features: Row | None = None
    """The shown row, as the model was given it; of a sample of the requests."""

    attributions: Annotated[Mapping[Column, Amount], msgspec.Meta(max_length=500)] | None = None
    """What each input added to the score's log-odds, by its column; of a sample of the requests, as far as it was known
    in time."""

    slices: Annotated[Mapping[Column, Category], msgspec.Meta(max_length=20)] | None = None
    """The part of each slice that the shown row belongs to."""

    first: Row | None = None
    """The first row of the same requests, where another one is shown or this is a copy; see `perch.signals.judging`."""

    asked: Row | None = None
    """The shown row of the same requests as it was asked, where the model was given something else."""

    served: Features | None = None
    """The features that were made of the shown row, of the same requests."""

    format: int = FORMAT


class Outcome(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What became of a request: told once for each source, when it is known."""

    request_id: RequestId
    label: Literal[0, 1]
    """1: it was clicked within the attribution window; of another source: what that one calls good came about."""

    time_s: TimeS
    """When it became known, in seconds since the epoch."""

    value: Amount = 0.0
    """What it was worth, in the market's currency."""

    source: Source = CLICK
    """What the label was taken from, such as `click`, `purchase` or `rating`. The click decides."""

    explicit: bool = False
    """Whether somebody said so, as in a rating; else it was taken from what somebody did."""

    cost: Amount = 0.0
    """What it cost to have the label, in the market's currency."""

    format: int = FORMAT


class Kept(msgspec.Struct, frozen=True):
    """An event as the store has it."""

    prediction: Prediction
    outcomes: list[Outcome]
    """Those that joined, at most one of each source."""


class Forgotten(msgspec.Struct, frozen=True):
    """What was deleted of a user, in rows; and the exports in which there is more."""

    predictions: int
    inputs: int
    outcomes: int
    attributes: int
    parked: int
    """Events that could not be taken, and mention the user."""

    exports: list[str]
    """Files that were written while the user was in the store, and have rows of the user; they are not Perch's to
    delete."""
