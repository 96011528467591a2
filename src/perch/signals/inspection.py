"""What is looked at of a version that serves, an hour at a time: is it asked what training saw, and reads it the same?

Two questions about one sample of its requests. **Drift**: their first rows against rows of the training, for which row
is shown is the model's choice. **Skew**: the features that serving made of the shown row against those that training
would make of it.

The sample is drawn evenly over the window, so that a busy minute does not stand for the hour, and so that what the
collector does for it does not grow with the traffic.
"""

from typing import Annotated, Final

import msgspec

from perch.signals.events import Column, Features, RequestId, Row, TimeS, UserId

WINDOW_S: Final = 3_600.0
"""How much of the past is inspected, and how often."""

STRETCHES: Final = 100
"""Parts of a window, of each of which as many requests are taken."""

SAMPLE: Final = 2_000
"""Requests that are inspected, at most."""

MISSING: Final = " is missing"
"""What the name of a column ends with that is of whether another one has a value."""

_Count = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
_Distance = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class Sampled(msgspec.Struct, frozen=True):
    """A live request whose inputs were kept."""

    request_id: RequestId
    user: UserId | None
    """Who was shown the answer; `None`: not known."""

    first: Row | None
    """Its first row, as the model was given it; `None`: not known, as of an earlier Perch."""

    asked: Row
    """The shown row, as it was asked."""

    served: Features | None
    """The features that the model read of it; `None`: not known, as of an earlier Perch."""


class ColumnDrift(msgspec.Struct, frozen=True):
    """How far a column is from what it was in training."""

    column: Annotated[str, msgspec.Meta(max_length=200 + len(MISSING))]
    distance: _Distance
    threshold: _Distance

    @property
    def drifts(self) -> bool:
        """Whether that is more than chance and the hours of training explain."""
        return self.distance >= self.threshold


class FeatureMatch(msgspec.Struct, frozen=True):
    """How often serving and training make the same number of the same row."""

    feature: Column
    requests: _Count
    equal: _Count
    """Those in which it is the same, to twelve digits."""


class Inspection(msgspec.Struct, frozen=True):
    """What was found of a version. Counts and distances only: nothing of a person is in it."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    version: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    made_s: TimeS
    """When, in seconds since the epoch."""

    requests: _Count
    """Of the sample."""

    columns: Annotated[list[ColumnDrift], msgspec.Meta(max_length=1_000)] = []
    """Empty where there was nothing to compare with, or too little."""

    features: Annotated[list[FeatureMatch], msgspec.Meta(max_length=2_000)] = []
    """Empty where the served features are not known."""
