"""What learns and what scores: the protocol of an estimator, and the calibrated scorer that serving calls.

Clicks are rare, so most non-clicks are dropped before training; that multiplies the odds by a known factor, which
`Scorer` divides out again (He et al., *Practical Lessons from Predicting Clicks on Ads at Facebook*, 2014, §6.3).
Each kind of estimator has a module of its own, so that serving one imports nothing of the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import ClassVar, Protocol, Self, cast

import numpy as np
from numpy.typing import NDArray

from perch.errors import ModelError
from perch.workload.features import Columns, Floats, Transform
from perch.workload.schema import Schema


class Estimator(Protocol):
    """A model of the click probability on the transform's features."""

    kind: ClassVar[str]
    """Name of the family, as in the manifest."""

    file: ClassVar[str]
    """Name of its file in the package."""

    @classmethod
    def fit(cls, values: Floats, clicked: NDArray[np.bool_], *, names: Sequence[str], seed: int) -> Self:
        """Learn from `values` (rows, features). The same arguments give the same model."""
        ...

    def predict(self, values: Floats) -> Floats:
        """Probability of a click for each row, on the scale of the training sample."""
        ...

    def to_bytes(self) -> bytes:
        """The model's file. Equal models give equal bytes."""
        ...

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read the model's file. Raises `ModelError` when it is not one."""
        ...


_ESTIMATORS = {"logistic": ("perch.workload.logistic", "Logistic"), "lightgbm": ("perch.workload.trees", "Trees")}


def estimator(kind: str) -> type[Estimator]:
    """The class of a kind of model. Raises `ModelError` when there is no such kind."""
    if kind not in _ESTIMATORS:
        raise ModelError(f"there is no kind of model {kind!r}: choose one of {', '.join(_ESTIMATORS)}")
    module, name = _ESTIMATORS[kind]
    return cast("type[Estimator]", getattr(import_module(module), name))


@dataclass(frozen=True, slots=True)
class Scorer:
    """A trained model with everything it takes to score a request."""

    schema: Schema
    transform: Transform
    estimator: Estimator
    keep_rate: float
    """Share of the non-clicks that training kept."""

    def score(self, columns: Columns) -> Floats:
        """Calibrated probability of a click for each row of a request."""
        return self.predict(self.transform.transform(columns).values)

    def predict(self, values: Floats) -> Floats:
        """Calibrated probability of a click for each row of the transform's matrix."""
        sampled = self.estimator.predict(values)
        return sampled / (sampled + (1 - sampled) / self.keep_rate)
