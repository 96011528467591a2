"""What became of all events so far, as the collector shows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from perch.signals.inspection import Inspection
from perch.signals.quality import Quality


@dataclass(frozen=True, slots=True)
class Tally:
    """How many outcomes of one source came to one result."""

    result: str
    """`joined`, `late` (outside the attribution window), `duplicate` (a request whose outcome was told before),
    `contradictory` (told before, and otherwise), `unknown` (no prediction has this id), or why it was not taken:
    `malformed`, `format` (of a later Perch), `future`, `ancient` or `source` (there are too many)."""

    source: str
    """Empty where the outcome was not taken."""

    model: str
    """Model, version and arm made the prediction; empty for an outcome that belongs to none."""

    version: str
    arm: str
    outcomes: int
    clicks: int
    """Outcomes whose label is 1."""


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """What the external judge said of two versions."""

    stable: str
    canary: str
    windows: int
    p_value: float
    """Of the last window."""


@dataclass(frozen=True, slots=True)
class Summary:
    """All outcomes received so far. Their number is the sum of the tallies and of the pending ones."""

    tallies: tuple[Tally, ...]
    pending: int
    """Outcomes that wait for their prediction."""

    parked_predictions: Mapping[str, int] = field(default_factory=dict)
    """Predictions that were not taken, by the reason."""

    quality: tuple[Quality, ...] = ()
    compared: tuple[JudgedPair, ...] = ()
    """By the external judge, of what is remembered."""

    inspections: tuple[Inspection, ...] = ()
    """The last one of each model."""

    inputs_kept_s: float | None = None
    """When the last request came whose inputs are kept, in seconds since the epoch; `None`: there is none."""

    def count(self, result: str) -> int:
        """Outcomes of one result over all sources, versions and arms."""
        return self.pending if result == "pending" else sum(t.outcomes for t in self.tallies if t.result == result)
