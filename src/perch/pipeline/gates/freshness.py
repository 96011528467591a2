"""Is the data of now? A feed that stopped gives the same log again, and a model that is as old as it."""

from typing import ClassVar

from perch.pipeline.case import Case
from perch.pipeline.record import Finding, NotJudged

_FIRST_CLOCK_S = 946_684_800.0
"""1 January 2000. Times before it are no times: a log without any counts its rows."""


class Freshness:
    """The youngest impression that is used is no older than the limit, where one is declared."""

    name: ClassVar[str] = "freshness"

    def check(self, case: Case) -> Finding | NotJudged:
        """Compare the age of the youngest impression with the limit."""
        limit_h, youngest_s = case.settings.gates.max_data_age_h, case.prepared.data_to_s
        if limit_h is None:
            return NotJudged(self.name, "no limit is declared for the age of the data (maxDataAgeH)")
        if youngest_s < _FIRST_CLOCK_S:
            return NotJudged(self.name, "the log has no clock times")
        age_h = (case.now_s - youngest_s) / 3_600
        sentence = f"the youngest impression is {age_h:,.1f} h old; {limit_h:g} h are allowed"
        figures = {"age_h": age_h, "allowed_age_h": limit_h}
        return Finding.judged(self.name, sentence, passed=age_h <= limit_h, figures=figures)
