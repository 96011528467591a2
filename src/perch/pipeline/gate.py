"""Step 6: may a challenger ask for traffic? It is compared with the champion and the baseline on the same rows.

The differences are taken row by row before they are resampled: what is hard about a row is hard for both models and
cancels, so far fewer clicks suffice.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from perch.pipeline.evaluate import Evaluation, slice_rows
from perch.pipeline.features import Bools, Prepared
from perch.pipeline.settings import GateSettings, PipelineSettings
from perch.workload.features import Floats
from perch.workload.metrics import Interval, bootstrap_sums, interval


class GateVerdict(StrEnum):
    """What the comparison proves."""

    BETTER = "better"
    NOT_WORSE = "not_worse"
    WORSE = "worse"
    UNDECIDED = "undecided"
    """The models cannot be told apart: there are too few clicks."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate's answer."""

    verdict: GateVerdict
    accepted: bool
    """The challenger may be rolled out. Everything else keeps what serves now."""

    reason: str
    """One sentence with the numbers that decided."""

    difference: Interval
    """Log loss against the champion's, as a share of it; below 0 is better."""


def judge(
    challenger: Evaluation, champion: Evaluation, baseline: Evaluation, prepared: Prepared, settings: PipelineSettings
) -> Gate:
    """Compare a challenger with what serves now. All three were evaluated on the rows of `prepared`."""
    whole = {"": np.ones(len(challenger.losses), np.bool_)}
    difference = _differences(challenger.losses, champion.losses, whole, settings)[""]
    verdict = _verdict(difference, int(prepared.evaluation_clicked.sum()), settings.gate)
    if verdict != GateVerdict.UNDECIDED:
        to_baseline = _differences(challenger.losses, baseline.losses, whole, settings)[""]
        slices = _differences(challenger.losses, champion.losses, _judged_slices(prepared, settings.gate), settings)
        objection = _objection(challenger, champion, to_baseline, slices, settings)
        if objection is not None:
            return Gate(GateVerdict.WORSE, accepted=False, reason=objection, difference=difference)
    kept = "baseline" if champion is baseline else "champion"
    return Gate(
        verdict,
        accepted=verdict in (GateVerdict.BETTER, GateVerdict.NOT_WORSE),
        reason=_sentence(verdict, difference, prepared, kept, settings.gate),
        difference=difference,
    )


def _judged_slices(prepared: Prepared, settings: GateSettings) -> dict[str, Bools]:
    clicked = prepared.evaluation_clicked
    return {name: rows for name, rows in slice_rows(prepared) if clicked[rows].sum() >= settings.slice_min_clicks}


def _differences(
    losses: Floats, reference: Floats, parts: dict[str, Bools], settings: PipelineSettings
) -> dict[str, Interval]:
    """Interval of the difference in mean log loss, as a share of the reference's, by slice; all of them hold at once.

    The more slices, the thinner each tail, and the more resamples, so that as many of them lie in it.
    """
    if not parts:
        return {}
    columns = np.stack([column * rows for rows in parts.values() for column in (losses - reference, reference)], axis=1)
    sums = bootstrap_sums(columns, resamples=settings.resamples * len(parts), seed=settings.seed)
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample may hold no row of a slice
        return {name: interval(sums[:, 2 * i] / sums[:, 2 * i + 1], looks=len(parts)) for i, name in enumerate(parts)}


def _verdict(difference: Interval, clicks: int, settings: GateSettings) -> GateVerdict:
    if clicks < settings.min_clicks:
        return GateVerdict.UNDECIDED
    if difference.high < 0:
        return GateVerdict.BETTER
    if difference.low > 0:
        return GateVerdict.WORSE
    return GateVerdict.NOT_WORSE if difference.high <= settings.margin else GateVerdict.UNDECIDED


def _objection(
    challenger: Evaluation,
    champion: Evaluation,
    to_baseline: Interval,
    slices: dict[str, Interval],
    settings: PipelineSettings,
) -> str | None:
    """The reason to refuse a model whatever its log loss against the champion is."""
    missed = champion.metrics["calibration_ratio"]  # a click rate that drifts is missed by every model
    low, high = settings.gate.calibration[0] * min(1, missed), settings.gate.calibration[1] * max(1, missed)
    calibration = challenger.calibration_interval
    if calibration.low > high or calibration.high < low:
        return (
            f"the challenger predicts {calibration.low:.2f} to {calibration.high:.2f} clicks for each click; "
            f"{low:.2f} to {high:.2f} are allowed: it is refused"
        )
    if to_baseline.low > 0:
        return f"the challenger's log loss is {_shares(to_baseline)} above the baseline's: it is refused"
    if not slices:
        return None
    name, worst = max(slices.items(), key=lambda item: item[1].low)
    if worst.low > settings.gate.slice_margin:
        return (
            f"on the slice {name} the challenger's log loss is {_shares(worst)} above the champion's; "
            f"{settings.gate.slice_margin:.0%} are allowed: it is refused"
        )
    return None


def _sentence(verdict: GateVerdict, difference: Interval, prepared: Prepared, kept: str, settings: GateSettings) -> str:
    clicks = int(prepared.evaluation_clicked.sum())
    seen = f"on {clicks:,} clicks in {len(prepared.evaluation):,} later impressions the challenger's log loss"
    shares = _shares(difference)
    match verdict:
        case GateVerdict.BETTER:
            return f"better: {seen} is {_shares(_negated(difference))} below the {kept}'s"
        case GateVerdict.NOT_WORSE:
            return f"not worse: {seen} differs from the {kept}'s by {shares}; up to {settings.margin:.1%} is allowed"
        case GateVerdict.WORSE:
            return f"worse: {seen} is {shares} above the {kept}'s: it is refused, and the {kept} stays"
        case GateVerdict.UNDECIDED:
            few = clicks < settings.min_clicks
            lacking = f"{settings.min_clicks} clicks are needed" if few else f"up to {settings.margin:.1%} is allowed"
            shares += f"; {lacking}: the {kept} stays"
            return f"cannot tell the models apart: {seen} differs from the {kept}'s by {shares}"


def _negated(difference: Interval) -> Interval:
    return Interval(-difference.high, -difference.low)


def _shares(difference: Interval) -> str:
    sign = "+" if difference.low < 0 else ""
    return f"{difference.low:{sign}.2%} to {difference.high:{sign}.2%}"
