"""What the gates found: one finding each, and what follows from all of them together.

The record is registered with the model as JSON, so that years later a version still says why it was offered, or why
it was not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self, cast

from pydantic import TypeAdapter, ValidationError

from perch.errors import ModelError
from perch.workload.metrics import Interval


class GateVerdict(StrEnum):
    """What the comparison with the champion proves."""

    BETTER = "better"
    NOT_WORSE = "not_worse"
    WORSE = "worse"
    UNDECIDED = "undecided"
    """The models cannot be told apart: there are too few clicks."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one gate says of a candidate."""

    gate: str
    passed: bool
    sentence: str
    """What was found, with the numbers and what is allowed."""

    figures: Mapping[str, float] = field(default_factory=dict)
    """The numbers by name; all are finite."""

    verdict: GateVerdict | None = None
    """What the gate `quality` proved; the others prove no such thing."""

    @classmethod
    def judged(cls, gate: str, sentence: str, *, passed: bool, figures: Mapping[str, float] | None = None) -> Self:
        """A finding whose sentence also says what a refusal means."""
        return cls(gate, passed, sentence if passed else f"{sentence}: it is refused", figures or {})


@dataclass(frozen=True, slots=True)
class NotJudged:
    """A gate had nothing to judge by. It stops nobody, and the record says so."""

    gate: str
    reason: str


@dataclass(frozen=True, slots=True)
class Record:
    """What all gates say of a candidate."""

    findings: tuple[Finding, ...]
    not_judged: tuple[NotJudged, ...]
    verdict: GateVerdict
    accepted: bool
    """The candidate may be rolled out: every gate that had something to judge by passed it. Everything else keeps what
    serves now."""

    reason: str
    """One sentence with the numbers that decided."""

    difference: Interval
    """Log loss against the champion's, as a share of it; below 0 is better."""

    @classmethod
    def of(cls, answers: Sequence[Finding | NotJudged]) -> Self:
        """Sum up what the gates say; the gate `quality` is among them."""
        findings = tuple(answer for answer in answers if isinstance(answer, Finding))
        (quality,) = (finding for finding in findings if finding.verdict is not None)
        refusals = [finding for finding in findings if not finding.passed]
        refusals.sort(key=lambda finding: finding is not quality)  # the comparison with the champion says most
        return cls(
            findings,
            tuple(answer for answer in answers if isinstance(answer, NotJudged)),
            cast("GateVerdict", quality.verdict),
            accepted=not refusals,
            reason=_reason(refusals) if refusals else quality.sentence,
            difference=Interval(quality.figures["difference_low"], quality.figures["difference_high"]),
        )

    def to_json(self) -> str:
        """The record as a registry stores it."""
        return _JSON.dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str) -> "Record":
        """Read what `to_json` wrote. Raises `ModelError` when it is something else."""
        try:
            return _JSON.validate_json(text)
        except ValidationError as error:
            raise ModelError(
                f"the gates' record cannot be read ({error.errors()[0]['msg']}): train the model again"
            ) from error


def _reason(refusals: Sequence[Finding]) -> str:
    first, *others = refusals
    return first.sentence + (f" (refused by {', '.join(one.gate for one in others)}, too)" if others else "")


_JSON = TypeAdapter(Record)
