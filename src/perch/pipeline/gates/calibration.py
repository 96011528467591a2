"""Do the candidate's probabilities mean what they say?

Bids are multiplied with them, so a click rate that is promised too high is paid for.
"""

from typing import ClassVar

from perch.pipeline.case import Case
from perch.pipeline.record import Finding, NotJudged


class Calibration:
    """Predicted clicks for each click lie within the bounds, or miss them by no more than the champion does.

    A click rate that drifts between training and evaluation is missed by every model, so the bounds give way to the
    champion's own miss.
    """

    name: ClassVar[str] = "calibration"

    def check(self, case: Case) -> Finding | NotJudged:
        """Compare the interval of predicted clicks for each click with the bounds."""
        if case.too_few_clicks:
            return NotJudged(self.name, case.too_few_clicks)
        settings, missed = case.settings.gates, case.champion.evaluation.metrics["calibration_ratio"]
        low, high = settings.calibration_low * min(1, missed), settings.calibration_high * max(1, missed)
        found = case.evaluation.calibration_interval
        passed = found.low <= high and found.high >= low
        sentence = (
            f"the challenger predicts {found.low:.2f} to {found.high:.2f} clicks for each click; "
            f"{low:.2f} to {high:.2f} are allowed"
        )
        figures = {"low": found.low, "high": found.high, "allowed_low": low, "allowed_high": high}
        return Finding.judged(self.name, sentence, passed=passed, figures=figures)
