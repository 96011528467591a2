"""Logistic regression, the kind of the baseline: few parameters, and nothing in it that can surprise.

It is fitted by Newton's method over slices of the rows, so that they may lie in a file larger than the memory: a pass
adds up one gradient and one small matrix. It ends where a solver in memory ends, which no stochastic gradient does, and
the matrix of the last pass says how sure each weight is. So a fitted model is the prior of the next rows that it learns
(Laplace's approximation; Chapelle & Li, *An Empirical Evaluation of Thompson Sampling*, 2011, algorithm 3), and a log
learned in two parts gives what it gives at once.

It is stored by skops, which names every type in the file, so that none is loaded that was not expected. (A pickle
runs whatever its author wrote.)
"""

import io
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from perch.errors import ModelError
from perch.workload.features import FeatureColumns, Floats
from perch.workload.schema import Schema

_SLICE_ROWS = 65_536
_MAX_PASSES = 100
_SMALL_STEP = 1e-6
"""Newton's steps square: the one after a step of 1e-6 is 1e-12."""
_ROUNDING = 1e-12
_DECIMALS = 8
"""Weights are rounded to so many: their last bits depend on the order in which a machine adds up."""


class Model:
    """Logistic regression: the baseline. Two parameters for each column that it reads."""

    kind: ClassVar[str] = "logistic"
    file: ClassVar[str] = "model.skops"

    def __init__(self, regression: LogisticRegression) -> None:
        self._regression = regression
        self._weights: Floats = regression.coef_[0]
        self._intercept = float(regression.intercept_[0])

    @staticmethod
    def columns(schema: Schema) -> FeatureColumns:
        """The few columns that the schema names for the baseline."""
        return FeatureColumns(categorical=schema.baseline)

    @staticmethod
    def bytes_per_row(features: int) -> int:  # noqa: ARG004
        """None: rows are read in slices."""
        return 0

    @classmethod
    def fit(cls, values: Floats, clicked: NDArray[np.bool_], *, names: Sequence[str], seed: int) -> Self:  # noqa: ARG003
        """Maximise the likelihood, with an L2 penalty of 1/2 on all weights but the intercept. No seed is needed."""
        free = np.zeros(values.shape[1] + 1)
        return cls._maximum(values, clicked, prior=free, precision=np.diag([*np.ones(values.shape[1]), 0.0]))

    def learn(self, values: Floats, clicked: NDArray[np.bool_]) -> Self:
        """A model that knows these rows, too. What this one knows of the rows before them is its prior.

        Args:
            values: Rows of shape (rows, features) that no fit of this model has seen, sampled at the same rate.
            clicked: Shape (rows).

        Raises:
            ModelError: This model was fitted before models said how sure their weights are.
        """
        precision = getattr(self._regression, "precision_", None)
        if precision is None:
            raise ModelError("the model does not say how sure its weights are: run `perch train` once, then learn")
        return self._maximum(values, clicked, prior=np.append(self._weights, self._intercept), precision=precision)

    @classmethod
    def _maximum(cls, values: Floats, clicked: NDArray[np.bool_], *, prior: Floats, precision: Floats) -> Self:
        weights, at = _newton(values, clicked, prior, precision)
        regression = LogisticRegression()
        regression.classes_ = np.array([False, True])
        regression.coef_ = np.round(weights[None, :-1], _DECIMALS)
        regression.intercept_ = np.round(weights[-1:], _DECIMALS)
        regression.precision_ = at.curvature.astype(np.float32).astype(np.float64)  # rounded, as the weights are
        return cls(regression)

    def predict(self, values: Floats) -> Floats:
        """Probability of a click for each row, on the scale of the training sample."""
        return np.asarray(1 / (1 + np.exp(-(values @ self._weights + self._intercept))))

    def contributions(self, values: Floats) -> Floats:
        """See `Additive`: each feature counts from its mean in training, each row weighed by what it taught."""
        parts = (values - self._means) * self._weights
        return np.column_stack([parts, np.full(len(values), self._intercept + self._means @ self._weights)])

    @property
    def _means(self) -> Floats:
        """The curvature's last row says them; of an earlier Perch's model, which kept none, 0."""
        precision = getattr(self._regression, "precision_", None)
        return np.zeros(len(self._weights)) if precision is None else precision[-1, :-1] / precision[-1, -1]

    def to_bytes(self) -> bytes:
        """A skops file with everything taken out that differs between two equal models."""
        return _reproducible(skops.io.dumps(self._regression))

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read a skops file. Raises `ModelError` when it holds types that skops does not trust, or no regression."""
        try:
            regression = skops.io.loads(content, trusted=[])
        except Exception as error:
            raise ModelError(f"{cls.file} is not a skops file of trusted types ({error}): register it again") from error
        if not isinstance(regression, LogisticRegression):
            raise ModelError(f"{cls.file} holds a {type(regression).__name__}, not a LogisticRegression")
        return cls(regression)


@dataclass(frozen=True, slots=True)
class _Point:
    """The penalised negative log-likelihood at some weights."""

    loss: float
    gradient: Floats
    curvature: Floats


def _newton(values: Floats, clicked: NDArray[np.bool_], prior: Floats, precision: Floats) -> tuple[Floats, _Point]:
    """The weights of least loss, the intercept last. A step that would make the loss greater is halved."""
    weights, at = prior, _add_up(values, clicked, prior, prior, precision)
    step = np.linalg.solve(at.curvature, at.gradient)
    for _ in range(_MAX_PASSES):
        there = _add_up(values, clicked, weights - step, prior, precision)
        if there.loss > at.loss * (1 + _ROUNDING):
            step = step / 2
            continue
        weights, at = weights - step, there
        if np.abs(step).max() < _SMALL_STEP:
            break
        step = np.linalg.solve(at.curvature, at.gradient)
    return weights, at


def _add_up(values: Floats, clicked: NDArray[np.bool_], weights: Floats, prior: Floats, precision: Floats) -> _Point:
    moved = weights - prior
    loss, gradient, curvature = float(moved @ precision @ moved / 2), precision @ moved, precision.copy()
    for start in range(0, len(values), _SLICE_ROWS):
        part, wanted = values[start : start + _SLICE_ROWS], clicked[start : start + _SLICE_ROWS]
        rows = np.column_stack([part, np.ones(len(part))])
        odds = rows @ weights
        against = np.logaddexp(0, odds)  # minus the logarithm of the probability of no click
        probability = np.exp(odds - against)
        loss += float((against - wanted * odds).sum())
        gradient = gradient + rows.T @ (probability - wanted)
        curvature += rows.T @ (rows * (probability * (1 - probability))[:, None])
    return _Point(loss, gradient, curvature)


def _reproducible(archive: bytes) -> bytes:
    """Replace a skops archive's memory addresses by their order of appearance, and its clock times by none."""
    with zipfile.ZipFile(io.BytesIO(archive)) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    schema = parts.pop("schema.json").decode()
    found = re.findall(r'"__id__": (\d+)|"file": "(\d+)\.npy"', schema)
    order = {address: str(i) for i, address in enumerate(dict.fromkeys(a or b for a, b in found))}
    renamed = re.sub(r'(?<="__id__": )\d+|(?<="file": ")\d+', lambda match: order[match.group()], schema)
    arrays = {f"{order[name.removesuffix('.npy')]}.npy": content for name, content in parts.items()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        for name, content in sorted({**arrays, "schema.json": renamed.encode()}.items()):
            target.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()
