"""Does the candidate treat the groups of people alike? Looked at on the slices that the schema calls sensitive.

Three shares are compared with those of all rows (fairlearn's `MetricFrame`, ratio to the overall value):

- *calibration*: predicted clicks for each click. What a group is promised is what it does.
- *recall*: clicks among the best scores (equal opportunity; Hardt, Price and Srebro, arXiv 1610.02413).
- *selection*: rows among the best scores (demographic parity).

Only the first can be asked of every honest model: where groups click at different rates, no model has all three
(Kleinberg, Mullainathan and Raghavan, arXiv 1609.05807). So its limit is narrow, and the other two have wide ones. A
gap counts as far as it is proven; a few clicks accuse nobody.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import pandas as pd

from perch.pipeline.case import Case
from perch.pipeline.evaluate import group_rows
from perch.pipeline.features import Bools
from perch.pipeline.record import Finding, NotJudged
from perch.workload.features import Floats
from perch.workload.metrics import Interval, block_sums, interval, resampled_sums
from perch.workload.schema import Slice


class Fairness:
    """No sensitive column is read, and no group's gap is proven to be wider than its limit."""

    name: ClassVar[str] = "fairness"

    def check(self, case: Case) -> Finding | NotJudged:
        """Compare each group with clicks enough to all rows."""
        schema = case.scorer.schema
        sensitive = [part for part in case.prepared.schema.slices if part.sensitive]
        read = [part.column for part in sensitive if part.column in schema.inputs]
        if read:
            sentence = f"the challenger reads {', '.join(read)}, which is sensitive"
            return Finding.judged(self.name, sentence, passed=False)
        if not sensitive:
            return NotJudged(self.name, "the schema calls no slice sensitive")
        if case.too_few_clicks:
            return NotJudged(self.name, case.too_few_clicks)
        least, clicked = case.settings.gates.slice_min_clicks, case.prepared.evaluation_clicked
        found = {name: rows for part in sensitive for name, rows in group_rows(part, case.prepared)}
        groups = {name: rows for name, rows in found.items() if clicked[rows].sum() >= least}
        if not groups:
            return NotJudged(self.name, f"no sensitive group has {least} clicks in the evaluation window")
        return self._compared(case, sensitive, groups)

    def _compared(self, case: Case, sensitive: Sequence[Slice], groups: Mapping[str, Bools]) -> Finding:
        settings = case.settings.gates
        limits = {"calibration": settings.calibration_gap, "recall": settings.recall_gap}
        limits["selection"] = settings.selection_gap
        points, proven = _gaps(case, sensitive), _proven(case, groups)
        worst = max(proven, key=lambda key: (proven[key] / limits[key[1]], abs(points[key]) / limits[key[1]]))
        (group, share), limit = worst, limits[worst[1]]
        sentence = (
            f"the {share} of {group} is {points[worst]:+.0%} off that of all rows; {proven[worst]:.0%} are proven, "
            f"{limit:.0%} are allowed"
        )
        figures = {"groups": float(len(groups)), "gap": points[worst], "proven": proven[worst], "allowed": limit}
        return Finding.judged(self.name, sentence, passed=proven[worst] <= limit, figures=figures)


Gaps = dict[tuple[str, str], float]
"""By group and share: how far the group's lies from that of all rows, as a share of the latter."""


def _gaps(case: Case, sensitive: Sequence[Slice]) -> Gaps:
    """The gaps as they are. Fairlearn looks at each row by itself, so it is given counts: a few rows, with weights."""
    from fairlearn.metrics import (  # type: ignore[import-untyped]
        MetricFrame,
        selection_rate,
        true_positive_rate,
    )

    gaps: Gaps = {}
    for part in sensitive:
        counts = _counts(case, part)
        weights = {"sample_weight": counts["rows"]}
        frame = MetricFrame(
            metrics={"calibration": _calibration, "recall": true_positive_rate, "selection": selection_rate},
            y_true=counts["clicked"],
            y_pred=counts["called"],
            sensitive_features=counts["group"],
            sample_params={
                "calibration": weights | {"predicted": counts["predicted"]},
                "recall": weights,
                "selection": weights,
            },
        )
        relative = (frame.by_group / frame.overall - 1).fillna(0.0)  # 0 of 0: nothing is called, or clicked
        gaps |= {(str(name), share): float(row[share]) for name, row in relative.iterrows() for share in relative}
    return gaps


def _counts(case: Case, part: Slice) -> pd.DataFrame:
    """Rows and predicted clicks by group, click and call."""
    clicked = case.prepared.evaluation_clicked
    group = np.full(len(clicked), "", object)
    for name, rows in group_rows(part, case.prepared):
        group[rows] = name
    keys = {"group": group, "clicked": clicked.astype(int), "called": _called(case).astype(int)}
    rows_of = pd.DataFrame({**keys, "predicted": case.probability}).groupby(list(keys))["predicted"]
    return rows_of.agg(rows="size", predicted="sum").reset_index()


def _proven(case: Case, groups: Mapping[str, Bools]) -> Gaps:
    """What of each gap is proven, 0 or more: its interval's end that is nearer to none. All intervals hold at once."""
    called, clicked = _called(case), case.prepared.evaluation_clicked
    facts = np.stack([np.ones(len(called)), case.probability, clicked, called, called & clicked], axis=1)
    looks = 3 * len(groups)
    blocks = np.hstack([block_sums(facts), *(block_sums(facts * rows[:, None]) for rows in groups.values())])
    sums = resampled_sums(blocks, resamples=case.settings.resamples * looks, seed=case.settings.seed)
    whole, *each = sums.T.reshape(1 + len(groups), facts.shape[1], -1)
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample may hold no click of a group
        return {
            (name, share): _nearest(interval(own / overall - 1, looks=looks))
            for name, part in zip(groups, each, strict=True)
            for (share, own), overall in zip(_shares(part).items(), _shares(whole).values(), strict=True)
        }


def _shares(sums: Floats) -> dict[str, Floats]:
    rows, predicted, clicks, called, hits = sums
    return {"calibration": predicted / clicks, "recall": hits / clicks, "selection": called / rows}


def _called(case: Case) -> Bools:
    """The rows with the best scores, as the evaluation's precision and recall have them."""
    return np.asarray(case.probability >= case.evaluation.metrics["threshold"])


def _calibration(
    y_true: "pd.Series[int]",
    y_pred: "pd.Series[int]",  # noqa: ARG001  fairlearn hands it to every metric
    *,
    predicted: "pd.Series[float]",
    sample_weight: "pd.Series[int]",
) -> float:
    return float(np.sum(predicted) / np.sum(np.multiply(y_true, sample_weight)))


def _nearest(gap: Interval) -> float:
    return max(0.0, gap.low, -gap.high)  # 0 also where the interval is not a number
