"""What has changed: the inputs, the scores, or what follows from them. One answer, in one sentence.

A score is made of the inputs, and an outcome follows from both. So what moved first explains the rest: where inputs
moved, scores and outcomes move with them; where outcomes moved and nothing before them, the world has changed its mind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from perch.core.inputs import Finding, Reading
from perch.core.movement import Kind
from perch.core.recalibration import Change


class Cause(StrEnum):
    """What moved first."""

    NOTHING = "nothing"
    INPUTS = "inputs"
    ATTRIBUTIONS = "attributions"
    """What inputs add to the scores, without the inputs: a combination of them that no column and no pair shows."""

    SCORES = "scores"
    """Without the inputs: a combination of them that no column and no pair shows, or another model than registered."""

    CONCEPT = "concept"
    """Outcomes given scores: concept drift."""

    LABELS = "labels"
    """Outcomes, at every score alike: label shift."""

    OUTCOMES = "outcomes"
    """One of these two."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is to be told."""

    cause: Cause
    sentence: str


def diagnose(
    findings: Sequence[Finding], score: Reading | None, change: Change | None, suspected: Sequence[str] = ()
) -> Diagnosis:
    """Say what moved.

    Args:
        findings: Inputs of the champion that drift against training, and what they add.
        score: Its scores, where they drift.
        change: In what follows from them, where there is one.
        suspected: What is beyond its limit in one window, which does not make a drift yet.
    """
    outcomes = "" if change is None else f" {change.sentence}"
    inputs = [finding for finding in findings if finding.kind is not Kind.ATTRIBUTION]
    if inputs:
        return Diagnosis(Cause.INPUTS, f"Inputs moved. {_first(inputs)}{outcomes}")
    if findings:
        told = f"What inputs add to the scores moved, and no input by itself did. {_first(findings)}"
        return Diagnosis(Cause.ATTRIBUTIONS, f"{told}{outcomes}")
    if score is not None:
        told = f"Their PSI is {score.psi:.2f}, and {score.limit:.2f} is tolerated."
        return Diagnosis(Cause.SCORES, f"Scores moved, and no input by itself did. {told}{outcomes}")
    if suspected:
        told = (
            f"Beyond the limit in one window: {', '.join(suspected)}. A second one in a row decides whether it drifts."
        )
        return Diagnosis(Cause.NOTHING, f"{told}{outcomes}")
    if change is None:
        return Diagnosis(Cause.NOTHING, "Inputs, scores and what follows from them are as they were.")
    cause, name = _OUTCOMES[change.is_concept]
    return Diagnosis(cause, f"{name}: inputs and scores are as they were.{outcomes}")


_OUTCOMES = {
    True: (Cause.CONCEPT, "The concept drifts"),
    False: (Cause.LABELS, "The labels have shifted"),
    None: (Cause.OUTCOMES, "The concept drifts, or the labels have shifted"),
}


def _first(findings: Sequence[Finding]) -> str:
    first, *others = findings
    more = ", ".join(" or ".join(finding.features) for finding in others)
    return f"{first.sentence} So did {more}." if others else first.sentence
