"""Is the candidate's log loss no worse than the champion's, and than the baseline's?

Few clicks prove nothing: where the interval is too wide to tell the two apart, what serves now stays.
"""

from typing import ClassVar

from perch.pipeline.case import Case
from perch.pipeline.compare import difference, shares
from perch.pipeline.record import Finding, GateVerdict
from perch.workload.metrics import Interval


class Quality:
    """Not worse than the champion, by at most the margin, and not proven worse than the baseline."""

    name: ClassVar[str] = "quality"

    def check(self, case: Case) -> Finding:
        """Compare the log losses row by row."""
        to_champion = difference(case.evaluation.losses, case.champion.evaluation.losses, case.settings)
        verdict, sentence = _verdict(to_champion, case), ""
        figures = {"difference_low": to_champion.low, "difference_high": to_champion.high, "clicks": float(case.clicks)}
        if verdict != GateVerdict.UNDECIDED and case.baseline.version != case.champion.version:
            to_baseline = difference(case.evaluation.losses, case.baseline.evaluation.losses, case.settings)
            figures |= {"to_baseline_low": to_baseline.low, "to_baseline_high": to_baseline.high}
            if to_baseline.low > 0:
                verdict = GateVerdict.WORSE
                sentence = f"the challenger's log loss is {shares(to_baseline)} above the baseline's: it is refused"
        passed = verdict in (GateVerdict.BETTER, GateVerdict.NOT_WORSE)
        return Finding(self.name, passed, sentence or _sentence(verdict, to_champion, case), figures, verdict)


def _verdict(to_champion: Interval, case: Case) -> GateVerdict:
    if case.too_few_clicks:
        return GateVerdict.UNDECIDED
    if to_champion.high < 0:
        return GateVerdict.BETTER
    if to_champion.low > 0:
        return GateVerdict.WORSE
    return GateVerdict.NOT_WORSE if to_champion.high <= case.settings.gates.margin else GateVerdict.UNDECIDED


def _sentence(verdict: GateVerdict, to_champion: Interval, case: Case) -> str:
    settings = case.settings.gates
    kept = "baseline" if case.champion.version == case.baseline.version else "champion"
    rows = len(case.prepared.evaluation_clicked)
    seen = f"on {case.clicks:,} clicks in {rows:,} later impressions the challenger's log loss"
    match verdict:
        case GateVerdict.BETTER:
            below = Interval(-to_champion.high, -to_champion.low)
            return f"better: {seen} is {shares(below)} below the {kept}'s"
        case GateVerdict.NOT_WORSE:
            allowed = f"up to {settings.margin:.1%} is allowed"
            return f"not worse: {seen} differs from the {kept}'s by {shares(to_champion)}; {allowed}"
        case GateVerdict.WORSE:
            return f"worse: {seen} is {shares(to_champion)} above the {kept}'s: it is refused, and the {kept} stays"
        case GateVerdict.UNDECIDED:
            few = f"{settings.min_clicks} clicks are needed" if case.too_few_clicks else ""
            lacking = few or f"up to {settings.margin:.1%} is allowed"
            differs = f"{seen} differs from the {kept}'s by {shares(to_champion)}"
            return f"cannot tell the models apart: {differs}; {lacking}: the {kept} stays"
