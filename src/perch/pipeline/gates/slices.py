"""Does the candidate harm a part of the users?

A model may gain on the whole, and lose on new users, or on one device.
"""

from typing import ClassVar

from perch.pipeline.case import Case
from perch.pipeline.compare import differences, shares
from perch.pipeline.evaluate import slice_rows
from perch.pipeline.record import Finding, NotJudged


class Slices:
    """On no slice a log loss that is proven to be above the champion's by more than the margin."""

    name: ClassVar[str] = "slices"

    def check(self, case: Case) -> Finding | NotJudged:
        """Compare the log losses on each slice with clicks enough, all of them together."""
        if case.too_few_clicks:
            return NotJudged(self.name, case.too_few_clicks)
        least, clicked = case.settings.gates.slice_min_clicks, case.prepared.evaluation_clicked
        parts = {name: rows for name, rows in slice_rows(case.prepared) if clicked[rows].sum() >= least}
        if not parts:
            return NotJudged(self.name, f"no slice of the evaluation window has {least} clicks")
        found = differences(case.evaluation.losses, case.champion.evaluation.losses, parts, case.settings)
        name, worst = max(found.items(), key=lambda item: item[1].low)
        margin = case.settings.gates.slice_margin
        sentence = (
            f"on the slice {name}, the worst of {len(parts)}, the challenger's log loss differs from the champion's by "
            f"{shares(worst)}; up to {margin:.0%} is allowed"
        )
        figures = {"slices": float(len(parts)), "worst_low": worst.low, "worst_high": worst.high, "allowed": margin}
        return Finding.judged(self.name, sentence, passed=worst.low <= margin, figures=figures)
