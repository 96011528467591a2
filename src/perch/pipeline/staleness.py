"""What an hour of age costs, by backtests: models that know less of the recent past, judged on the same later rows.

Each model learns from equally many rows, so that only their age differs. What it loses to the one that knows most is
told in thousandths of a nat for each row; that a thousandth is worth about a click in a thousand impressions is argued
in `perch.core.staleness`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from perch.errors import DataError
from perch.pipeline.features import mature, prepare
from perch.pipeline.settings import PipelineSettings
from perch.pipeline.train import fit
from perch.workload.features import Floats
from perch.workload.metrics import Interval, bootstrap_sums, interval, log_losses
from perch.workload.schema import Schema

HOUR_S = 3_600.0
_AGES = (0.0, 0.25, 0.5, 1.0)
"""Ages at which models are judged, as parts of the oldest one."""

_LEAST_AGE_S = HOUR_S


@dataclass(frozen=True, slots=True)
class Backtest:
    """What staleness cost in a log."""

    ages_h: tuple[float, ...]
    """How much older each model's data is than the freshest one's, in hours."""

    losses: tuple[float, ...]
    """Log loss of each, in nats for each row."""

    loss_per_hour: float
    """Clicks in a thousand impressions that an hour of age costs: the slope through 0, at least 0."""

    loss_per_hour_interval: Interval
    rows: int
    """Rows that the models were judged on."""


def backtest(
    frame: pd.DataFrame,
    schema: Schema,
    kind: str,
    settings: PipelineSettings,
    progress: Callable[[str], None] = lambda _: None,
) -> Backtest:
    """Train one kind of model on windows that end earlier and earlier, and judge all on the last rows of a log.

    Args:
        frame: The log, as `Ingested.load` gives it. Half of it is what each model learns from.
        schema: Its columns.
        kind: Kind of model.
        settings: How models are trained; the evaluation's share is the last rows'.
        progress: Told what happens.

    Raises:
        DataError: the log has no clock, or is too short for models of different age.
    """
    frame, clicked = mature(frame, schema, settings.attribution_window_s)
    frame, schema = frame.assign(**{schema.label: clicked.astype(np.float64)}), replace(schema, label_time=None)
    evaluated = int(len(frame) * (1 - settings.evaluation_share))
    length = len(frame) // 2
    ends = _ends(frame[schema.time].to_numpy(), length, evaluated)
    losses = []
    for end, age_h in ends:
        progress(f"training a model whose data is {age_h:.0f} h older")
        rows = pd.concat([frame[end - length : end], frame[evaluated:]], ignore_index=True)
        losses.append(_losses(rows, length, schema, kind, settings))
    ages = np.array([age_h for _, age_h in ends])
    return _told(ages, np.stack(losses, axis=1), settings)


def _ends(time_s: Floats, length: int, evaluated: int) -> list[tuple[int, float]]:
    """Where the window of each model ends, and how many hours earlier than the freshest one's."""
    oldest_s = time_s[evaluated] - time_s[length]
    if oldest_s < _LEAST_AGE_S:
        raise DataError(
            f"the log's windows differ by {max(oldest_s, 0) / HOUR_S:.2f} h in age, from which nothing can be told of "
            "an hour of staleness: use a longer log, with times in seconds"
        )
    moments = time_s[evaluated] - oldest_s * np.array(_AGES)
    return [
        (max(int(np.searchsorted(time_s, moment)), length), float(time_s[evaluated] - moment) / HOUR_S)
        for moment in moments
    ]


def _losses(rows: pd.DataFrame, length: int, schema: Schema, kind: str, settings: PipelineSettings) -> Floats:
    """Log loss of each row of the last window, for a model of the first `length` rows."""
    history = settings.history_share / (1 - settings.evaluation_share)
    shares = replace(settings, history_share=history * length / len(rows), evaluation_share=1 - length / len(rows))
    prepared = prepare(rows, schema, shares, data_digest="", kinds=(kind,))
    scorer = fit(prepared, kind, settings)
    probability = scorer.predict(scorer.transform.transform_frame(prepared.evaluation).values)
    return log_losses(prepared.evaluation_clicked, probability)


def _told(ages_h: Floats, losses: Floats, settings: PipelineSettings) -> Backtest:
    """The slope of what is lost over age, by least squares through 0, and its bootstrap interval."""
    weights = 1_000 * ages_h / (ages_h**2).sum()
    slopes = (losses - losses[:, :1]) @ weights
    sums = bootstrap_sums(
        np.stack([slopes, np.ones(len(slopes))], axis=1), resamples=settings.resamples, seed=settings.seed
    )
    return Backtest(
        ages_h=tuple(ages_h.tolist()),
        losses=tuple(losses.mean(axis=0).tolist()),
        loss_per_hour=max(float(slopes.mean()), 0.0),
        loss_per_hour_interval=interval(sums[:, 0] / sums[:, 1]),
        rows=len(losses),
    )
