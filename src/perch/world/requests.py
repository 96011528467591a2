"""Live traffic: slates of candidates to be ranked, and the clicks on what was shown.

A request carries its luck with it, drawn in advance. So a click costs nothing when it is asked for, and two models
that answer the same request meet the same user.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Click(NamedTuple):
    """What became of an impression."""

    clicked: bool
    delay_s: float
    """Real seconds from the answer to the click; 0 without one."""

    value: float
    """What the user then bought for; 0 for nothing."""


@dataclass(frozen=True, slots=True)
class SlateRequest:
    """One user who waits for an ad."""

    request_id: str
    context: Mapping[str, str | float | None]
    """Input columns of the user and the page; `None` is missing."""

    candidates: Sequence[Mapping[str, str | float | None]]
    """Input columns of each candidate ad, in random order; `None` is missing."""

    bids: Sequence[float]
    """What a click on each candidate pays. The one with the highest bid times click rate is to be shown."""

    true_ctr: Sequence[float] = field(repr=False)
    """Click rate of each candidate: what a model tries to predict. A service never gets to see it."""

    luck: float = field(repr=False)
    """A candidate is clicked if its true click rate is above this, 0 to 1."""

    delay_s: float = field(repr=False)
    """When the click would come."""

    value: float = field(repr=False)
    """What the user would then buy for."""

    def body(self) -> bytes:
        """The request as `POST /rank` takes it."""
        asked = {"context": self.context, "candidates": self.candidates, "values": self.bids}
        return json.dumps(asked).encode()

    def click(self, shown_index: int) -> Click:
        """What the user does with the candidate that was shown: always the same."""
        if self.luck >= self.true_ctr[shown_index]:
            return Click(clicked=False, delay_s=0.0, value=0.0)
        return Click(clicked=True, delay_s=self.delay_s, value=self.value)
