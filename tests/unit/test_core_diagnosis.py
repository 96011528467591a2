"""What moved first is what is told."""

from dataclasses import replace

import pytest

from perch.core.diagnosis import Cause, diagnose
from perch.core.inputs import Finding, Reading
from perch.core.movement import Kind
from perch.core.recalibration import Change

PRICE = Finding(("price",), "training", Kind.MOVED, 0.0, "price has moved.")
SCORE = Reading("_score", "", "training", 900, 0.4, 0.3, 0.1, 0.0, 0.0, Kind.MOVED, "")
CONCEPT, LABELS = Change(is_concept=True, sentence="Scores tell less."), Change(is_concept=False, sentence="Fewer.")


@pytest.mark.parametrize(
    ("findings", "score", "change", "cause"),
    [
        ([], None, None, Cause.NOTHING),
        ([PRICE], None, None, Cause.INPUTS),
        ([PRICE], SCORE, CONCEPT, Cause.INPUTS),
        ([], SCORE, None, Cause.SCORES),
        ([], SCORE, CONCEPT, Cause.SCORES),
        ([], None, CONCEPT, Cause.CONCEPT),
        ([], None, LABELS, Cause.LABELS),
    ],
)
def test_what_moved_first_is_the_cause(findings, score, change, cause):
    assert diagnose(findings, score, change).cause is cause


def test_the_sentence_has_the_numbers_of_all_that_moved():
    site = replace(PRICE, features=("site", "page"))
    said = diagnose([PRICE, site], SCORE, CONCEPT).sentence
    assert said == "Inputs moved. price has moved. So did site or page. Scores tell less."
    assert "Their PSI is 0.40, and 0.10 is tolerated." in diagnose([], SCORE, None).sentence
