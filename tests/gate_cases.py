"""Candidates for the gates: forty thousand rows whose click rates are known."""

from pathlib import Path

import numpy as np
import pandas as pd

from perch.pipeline.case import Case, Incumbent
from perch.pipeline.evaluate import Evaluation
from perch.pipeline.features import Prepared, TrainingInput
from perch.pipeline.settings import PipelineSettings
from perch.settings import GateSettings
from perch.workload.features import FeatureColumns, FeatureSettings, Transform
from perch.workload.metrics import Interval, calibration_ratio, log_losses
from perch.workload.model import Scorer
from perch.workload.schema import Schema, Slice

ROWS = 40_000
TRUTH = np.random.default_rng(0).beta(2, 60, ROWS)
CLICKED = np.random.default_rng(1).random(ROWS) < TRUTH
MEAN = 2 / 62
SCHEMA = Schema((), ("device",), ("device",), slices=(Slice("device"),))
DIGEST = "d" * 64


def prepared(frame=None, *, clicked=CLICKED, schema=SCHEMA, **facts):
    if frame is None:
        frame = pd.DataFrame({"device": np.where(np.arange(len(clicked)) % 10, "phone", "desk")})
    known = {"training_sample": frame[:0], "data_from_s": 0.0, "data_to_s": 1.0, "data_rows": len(frame)} | facts
    return Prepared(schema, "data", {}, np.zeros(0, bool), frame, clicked, **known)


def evaluation(probability, clicked=CLICKED, *, calibration=None):
    probability = np.broadcast_to(probability, clicked.shape)
    ratio = calibration_ratio(clicked, probability)
    low, high = calibration or (0.95 * ratio, 1.05 * ratio)
    facts = {"calibration_ratio": (low + high) / 2, "threshold": float(np.quantile(probability, 0.95))}
    return Evaluation(log_losses(clicked, probability), facts, Interval(low, high), {}, ())


def incumbent(judged, *, version=1, schema=SCHEMA):
    return Incumbent(version, schema, judged)


def gate_settings(**gates):
    return PipelineSettings(gates=GateSettings.model_validate(gates))


def case(candidate, champion=None, baseline=None, *, rows=None, scorer=None, settings=None, **facts):
    """A candidate by its evaluation; champion and baseline are one, and know the mean, unless they are given."""
    rows = rows or prepared()
    champion = champion or incumbent(evaluation(MEAN, rows.evaluation_clicked))
    known = {"kind": "lightgbm", "package": Path(), "digest": DIGEST, "now_s": 2.0} | facts
    return Case(
        scorer=scorer or untrained(rows),
        evaluation=candidate,
        prepared=rows,
        champion=champion,
        baseline=baseline or champion,
        settings=settings or PipelineSettings(),
        **known,
    )


def untrained(rows, schema=None):
    """A scorer whose transform is real, and whose estimator is asked for nothing."""
    schema = schema or rows.schema
    columns = FeatureColumns(schema.numeric, schema.categorical)
    half = len(rows.evaluation) // 2
    transform = Transform.fit(rows.evaluation[:half], rows.evaluation_clicked[:half], columns, FeatureSettings(bits=8))
    return Scorer(schema, transform, None, 1.0)


def learned(scorer, sample):
    """What a model of these rows, and of none between them, has learned from."""
    matrix = scorer.transform.transform_frame(sample)
    return {"lightgbm": TrainingInput(scorer.transform, matrix.values, np.zeros(len(sample), bool), 1.0)}
