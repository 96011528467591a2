"""The baseline's and the challenger's kind of model, as the pipeline fits them, with weights on top."""

from collections.abc import Callable, Mapping

import lightgbm as lgb
import numpy as np
from benchmarks.imbalance.treatments import Floats, Rows
from sklearn.linear_model import LogisticRegression

from perch.workload.estimators.lightgbm import PARAMETERS, TREES

Predict = Callable[[Floats], Floats]
Learner = Callable[[Rows, int], Predict]
"""Takes rows and a seed; gives what predicts on the scale of these rows."""


def trees(rows: Rows, seed: int) -> Predict:
    """Those of `perch.workload.estimators.lightgbm`."""
    data = lgb.Dataset(rows.values, rows.clicked.astype(np.float32), weight=rows.weights)
    booster = lgb.train({**PARAMETERS, "seed": seed}, data, num_boost_round=TREES)
    return lambda values: np.asarray(booster.predict(values, num_threads=1))


def logistic(rows: Rows, seed: int) -> Predict:  # noqa: ARG001
    """The likelihood that `perch.workload.estimators.logistic` maximises."""
    regression = LogisticRegression(C=1.0, solver="newton-cholesky")
    fitted = regression.fit(rows.values, rows.clicked, sample_weight=rows.weights)
    return lambda values: np.asarray(fitted.predict_proba(values)[:, 1])


LEARNERS: Mapping[str, Learner] = {"lightgbm": trees, "logistic": logistic}
"""By kind of model."""
