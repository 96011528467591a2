"""What serving and the market tell the collector, as it goes over the wire (JSON lists of these)."""

from typing import Annotated, Literal

import msgspec

SHADOW = "shadow"

RequestId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """A request was answered."""

    request_id: RequestId
    model: str
    version: str
    arm: str
    """As counted: a mirrored request, whose answer nobody saw, has the arm `shadow`."""

    time_s: float
    """When it was answered, in seconds since the epoch."""

    score: float
    """Predicted probability of the row that was shown: the best of a slate, else the first. Of a mirrored request: of
    the row that this version would have shown."""

    rows: int
    shown: int
    """Which of the rows that is, counted from 0."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of a request, told once, when it is known."""

    request_id: RequestId
    label: Literal[0, 1]
    """1: it was clicked within the attribution window."""

    time_s: float
    """When it became known, in seconds since the epoch."""

    value: float = 0.0
    """What the click was worth, in the market's currency."""
