"""One log after the other through all treatments, and what they come to together."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from benchmarks.imbalance.learners import LEARNERS
from benchmarks.imbalance.treatments import TREATMENTS, Floats
from scipy import stats
from threadpoolctl import threadpool_limits

from perch.pipeline.features import Prepared, prepare
from perch.pipeline.settings import PipelineSettings
from perch.workload import metrics
from perch.workload.schema import Schema

_RESAMPLES = 1_000
_TAIL = 0.025
_NONE = next(iter(TREATMENTS))


@dataclass(frozen=True, slots=True)
class Trial:
    """One treatment of one log, with one seed."""

    training_rows: int
    training_clicks: int
    """Before the treatment."""

    seconds: float
    """Processor time to treat the rows and to fit; their features are counted already."""

    losses: Floats
    """Log loss of each evaluation row, after recalibration."""

    log_loss_before: float
    auc: float
    ece_before: float
    """Expected calibration error, before the odds are corrected."""

    ece: float
    calibration_ratio: float
    """Predicted clicks for each click, after."""

    evaluation_clicks: int


Trials = Mapping[str, Trial]
"""By treatment."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What the treatments of a table have in common."""

    data: str
    model: str
    """The kind of model."""

    trials: int
    training_clicks: int
    """Mean over the trials, as all figures below."""

    evaluation_clicks: int


@dataclass(frozen=True, slots=True)
class Difference:
    """Log loss less that of no treatment, as a share of the latter; below 0 is better. The bounds hold at 95 %."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Result:
    """What a treatment comes to on one kind of log; see `Trial` for what is not said here."""

    setting: Setting
    treatment: str
    training_rows: int
    seconds: float
    """Median over the trials."""

    log_loss: float
    log_loss_before: float
    difference: Difference
    auc: float
    ece_before: float
    ece: float
    calibration_ratio: float


def try_all(log: pd.DataFrame, schema: Schema, seed: int) -> dict[str, Trials]:
    """Every treatment on every kind of model, by kind, on the windows that the pipeline would take."""
    settings = replace(PipelineSettings(), seed=seed, keep_rate=1.0)
    prepared = prepare(log, schema, settings, data_digest="", kinds=tuple(LEARNERS))
    return {kind: {name: _try(prepared, kind, name, seed) for name in TREATMENTS} for kind in LEARNERS}


def _try(prepared: Prepared, kind: str, treatment: str, seed: int) -> Trial:
    given, clicked = prepared.inputs[kind], prepared.evaluation_clicked
    with threadpool_limits(1):  # so that processor time can be compared
        start_s = time.process_time()
        rows = TREATMENTS[treatment](given.values, given.clicked, seed)
        predict = LEARNERS[kind](rows, seed)
        seconds = time.process_time() - start_s
    raised = predict(given.transform.transform_frame(prepared.evaluation).values)
    probability = raised / (raised + (1 - raised) * rows.odds_factor)
    return Trial(
        training_rows=len(rows.clicked),
        training_clicks=int(given.clicked.sum()),
        seconds=seconds,
        losses=metrics.log_losses(clicked, probability),
        log_loss_before=float(metrics.log_losses(clicked, raised).mean()),
        auc=metrics.auc(clicked, probability),
        ece_before=metrics.expected_calibration_error(clicked, raised),
        ece=metrics.expected_calibration_error(clicked, probability),
        calibration_ratio=metrics.calibration_ratio(clicked, probability),
        evaluation_clicks=int(clicked.sum()),
    )


def results(data: str, model: str, trials: Sequence[Trials], *, same_log: bool) -> list[Result]:
    """Sum up the trials of one kind of model, a result for each treatment.

    Args:
        data: What the logs are called.
        model: The kind of model.
        trials: One for each seed.
        same_log: Whether only the seed differs between the trials: then the interval is that of the rows of that one
            log, else that of the logs.
    """
    untreated = [one[_NONE] for one in trials]
    setting = Setting(
        data,
        model,
        trials=len(trials),
        training_clicks=round(_mean([one.training_clicks for one in untreated])),
        evaluation_clicks=round(_mean([one.evaluation_clicks for one in untreated])),
    )
    difference = _over_rows if same_log else _over_logs
    return [_result(setting, name, [one[name] for one in trials], difference(trials, name)) for name in TREATMENTS]


def _result(setting: Setting, treatment: str, tried: Sequence[Trial], difference: Difference) -> Result:
    return Result(
        setting,
        treatment,
        training_rows=round(_mean([one.training_rows for one in tried])),
        seconds=float(np.median([one.seconds for one in tried])),
        log_loss=_mean([one.losses.mean() for one in tried]),
        log_loss_before=_mean([one.log_loss_before for one in tried]),
        difference=difference,
        auc=_mean([one.auc for one in tried]),
        ece_before=_mean([one.ece_before for one in tried]),
        ece=_mean([one.ece for one in tried]),
        calibration_ratio=_mean([one.calibration_ratio for one in tried]),
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _over_logs(trials: Sequence[Trials], name: str) -> Difference:
    """Mean and bounds over logs that know nothing of each other (Student's t)."""
    shares = np.array([one[name].losses.mean() / one[_NONE].losses.mean() - 1 for one in trials])
    half = stats.t.ppf(1 - _TAIL, len(shares) - 1) * shares.std(ddof=1) / np.sqrt(len(shares))
    return Difference(float(shares.mean()), float(shares.mean() - half), float(shares.mean() + half))


def _over_rows(trials: Sequence[Trials], name: str) -> Difference:
    """Mean and bounds over the rows of one log, resampled in blocks; a row's loss is the mean of the seeds'."""
    losses, reference = (np.mean([one[which].losses for one in trials], axis=0) for which in (name, _NONE))
    columns = np.stack([losses - reference, reference], axis=1)
    sums = metrics.bootstrap_sums(columns, resamples=_RESAMPLES, seed=0)
    bounds = metrics.interval(sums[:, 0] / sums[:, 1])
    return Difference(float(losses.mean() / reference.mean() - 1), bounds.low, bounds.high)
