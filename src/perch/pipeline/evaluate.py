"""Step 5: judge a model on the evaluation window, as a whole and by slice."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from perch.errors import ModelError
from perch.pipeline.features import Bools, Prepared
from perch.pipeline.settings import PipelineSettings
from perch.signals.names import grid
from perch.workload import metrics
from perch.workload.features import Floats
from perch.workload.metrics import Interval
from perch.workload.model import Scorer
from perch.workload.schema import Schema, Slice

_MAX_SLICE_VALUES = 10
_CALLED_SHARE = 0.05
_SCORED_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class SliceEvaluation:
    """How a model does on a part of the rows."""

    rows: int
    clicks: int
    log_loss: float
    log_loss_interval: Interval
    calibration_ratio: float
    calibration_interval: Interval


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a model does on the evaluation window."""

    losses: Floats
    """Log loss of each row."""

    metrics: dict[str, float]
    calibration_interval: Interval
    slices: dict[str, SliceEvaluation]
    score_histogram: tuple[int, ...]
    """Rows by score bin. Of randomly shown ads only where the log knows them: they are like serving's candidates."""

    def flat(self) -> dict[str, float]:
        """Every figure that is a finite number, under one name each, as a registry stores them."""
        figures = dict(self.metrics)
        for name, part in self.slices.items():
            figures |= {
                f"slice/{name}/rows": float(part.rows),
                f"slice/{name}/log_loss": part.log_loss,
                f"slice/{name}/log_loss_low": part.log_loss_interval.low,
                f"slice/{name}/log_loss_high": part.log_loss_interval.high,
                f"slice/{name}/calibration_ratio": part.calibration_ratio,
            }
        return {name: value for name, value in figures.items() if np.isfinite(value)}


def evaluate(scorer: Scorer, prepared: Prepared, settings: PipelineSettings) -> Evaluation:
    """Score the evaluation window through the model's own transform, as serving does.

    Raises:
        ModelError: The model reads a column that the log does not have.
    """
    frame, clicked = prepared.evaluation, prepared.evaluation_clicked
    check_inputs(scorer.schema, prepared)
    probability = _scores(scorer, frame)
    losses = metrics.log_losses(clicked, probability)
    parts = {"": np.ones(len(clicked), np.bool_), **dict(slice_rows(prepared))}
    facts = np.stack([np.ones(len(losses)), losses, probability, clicked], axis=1)
    judged = {
        name: _slice(_sums(facts, rows, settings), rows, losses, probability, clicked) for name, rows in parts.items()
    }
    whole = judged.pop("")
    return Evaluation(
        losses=losses,
        metrics=_metrics(clicked, probability, whole),
        calibration_interval=whole.calibration_interval,
        slices=judged,
        score_histogram=_histogram(probability, prepared),
    )


def check_inputs(schema: Schema, prepared: Prepared) -> None:
    """Check that the log has every column that a model of `schema` reads; raises `ModelError` when it lacks one."""
    lacking = [name for name in schema.inputs if name not in prepared.evaluation]
    if lacking:
        raise ModelError(f"the model reads {', '.join(lacking)}, which the log has not: train under another model name")


def slice_rows(prepared: Prepared) -> Iterator[tuple[str, Bools]]:
    """Each slice of the evaluation window by name, and which rows belong to it; only those with clicks in them."""
    for part in prepared.schema.slices:
        yield from group_rows(part, prepared)


def group_rows(part: Slice, prepared: Prepared) -> Iterator[tuple[str, Bools]]:
    """The groups of one slice: the same for each."""
    column, name = prepared.evaluation[part.column], part.name or part.column
    if part.below is not None:
        groups = {name: (column < part.below).to_numpy()}
    else:
        values = column.value_counts().index[:_MAX_SLICE_VALUES]
        groups = {f"{name}:{value}": (column == value).to_numpy() for value in values}
    yield from ((key, rows) for key, rows in groups.items() if prepared.evaluation_clicked[rows].any())


def _scores(scorer: Scorer, frame: pd.DataFrame) -> Floats:
    """Scores of all rows. Features take ten times the memory of the rows, so they are made a few rows at a time."""
    parts = (frame[start : start + _SCORED_ROWS] for start in range(0, len(frame), _SCORED_ROWS))
    return np.concatenate([scorer.predict(scorer.transform.transform_frame(part).values) for part in parts])


def _sums(facts: Floats, rows: Bools, settings: PipelineSettings) -> Floats:
    """Resampled sums of a slice's rows, losses, predicted and real clicks; shape (4, resamples)."""
    return metrics.bootstrap_sums(facts * rows[:, None], resamples=settings.resamples, seed=settings.seed).T


def _slice(sums: Floats, rows: Bools, losses: Floats, probability: Floats, clicked: Bools) -> SliceEvaluation:
    count, loss, predicted, clicks = sums
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample may hold no click
        return SliceEvaluation(
            rows=int(rows.sum()),
            clicks=int(clicked[rows].sum()),
            log_loss=float(losses[rows].mean()),
            log_loss_interval=metrics.interval(loss / count),
            calibration_ratio=metrics.calibration_ratio(clicked[rows], probability[rows]),
            calibration_interval=metrics.interval(predicted / clicks),
        )


def _metrics(clicked: Bools, probability: Floats, whole: SliceEvaluation) -> dict[str, float]:
    threshold = float(np.quantile(probability, 1 - _CALLED_SHARE))
    precision, recall = metrics.precision_recall(clicked, probability, threshold)
    return {
        "rows": float(whole.rows),
        "clicks": float(whole.clicks),
        "log_loss": whole.log_loss,
        "log_loss_low": whole.log_loss_interval.low,
        "log_loss_high": whole.log_loss_interval.high,
        "normalised_entropy": metrics.normalised_entropy(clicked, probability),
        "auc": metrics.auc(clicked, probability),
        "pr_auc": metrics.pr_auc(clicked, probability),
        "threshold": threshold,
        "precision": precision,
        "recall": recall,
        "calibration_ratio": whole.calibration_ratio,
        "calibration_low": whole.calibration_interval.low,
        "calibration_high": whole.calibration_interval.high,
        "expected_calibration_error": metrics.expected_calibration_error(clicked, probability),
    }


def _histogram(probability: Floats, prepared: Prepared) -> tuple[int, ...]:
    edges = np.array(grid(1.0).score_logit)  # the score's edges do not depend on the SLO
    if prepared.schema.explored is not None:
        explored = prepared.evaluation[prepared.schema.explored].to_numpy() == 1
        probability = probability[explored] if explored.any() else probability
    bins = np.searchsorted(edges, np.log(probability / (1 - probability)))
    return tuple(np.bincount(bins, minlength=len(edges) + 1).tolist())
