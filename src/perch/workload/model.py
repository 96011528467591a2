"""What learns and what scores: the protocol of an estimator, and the calibrated scorer that serving calls.

Clicks are rare, so most non-clicks are dropped before training; that multiplies the odds by a known factor, which
`Scorer` divides out again (He et al., *Practical Lessons from Predicting Clicks on Ads at Facebook*, 2014, §6.3).
Each kind of estimator is a module of `perch.workload.estimators`, so that serving one imports nothing of the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from math import log
from pkgutil import iter_modules
from typing import ClassVar, Protocol, Self, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from perch.errors import ModelError
from perch.workload import estimators
from perch.workload.features import Columns, FeatureColumns, Floats, Transform
from perch.workload.schema import Schema


class Estimator(Protocol):
    """A model of the click probability on the transform's features."""

    kind: ClassVar[str]
    """Name of the family, as in the manifest: that of its module."""

    file: ClassVar[str]
    """Name of its file in the package."""

    @staticmethod
    def columns(schema: Schema) -> FeatureColumns:
        """The columns of a log that this kind reads."""
        ...

    @staticmethod
    def bytes_per_row(features: int) -> int:
        """Memory that `fit` takes for each row, beside the values themselves, which may lie in a mapped file."""
        ...

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


@runtime_checkable
class Learner(Protocol):
    """An estimator that can go on where its fit ended."""

    def learn(self, values: Floats, clicked: NDArray[np.bool_]) -> Estimator:
        """A model that knows these rows, too, which no fit of this one has seen; this one stays as it is."""
        ...


@runtime_checkable
class Additive(Protocol):
    """An estimator that can say what each feature adds to its log-odds."""

    def contributions(self, values: Floats) -> Floats:
        """What each feature adds, in log-odds on the scale of the training sample, and the base in one more column.

        Args:
            values: Shape (rows, features).

        Returns:
            Shape (rows, features + 1). A row's sum is the log-odds that `predict` gives it.
        """
        ...


def kinds() -> list[str]:
    """Every kind of model there is, in the order of the alphabet: the modules of `perch.workload.estimators`."""
    return sorted(module.name for module in iter_modules(estimators.__path__))


def estimator(kind: str) -> type[Estimator]:
    """The class of a kind of model: `Model` in the kind's module. Nothing but a module of that folder is imported.

    Raises:
        ModelError: There is no such kind, or it needs a library that is not installed here.
    """
    if kind not in kinds():
        raise ModelError(f"there is no kind of model {kind!r}: choose one of {', '.join(kinds())}")
    try:
        module = import_module(f"{estimators.__name__}.{kind}")
    except ModuleNotFoundError as error:
        raise ModelError(
            f"a model of kind {kind} needs {error.name}, which is not installed here: install it"
        ) from error
    return cast("type[Estimator]", module.Model)


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

    def contributions(self, values: Floats) -> Floats:
        """What each feature adds to the log-odds of the calibrated probability, and the base in one more column.

        That training kept only a share of the non-clicks moves all log-odds alike, so it belongs to the base.

        Raises:
            ModelError: The estimator cannot tell.
        """
        if not isinstance(self.estimator, Additive):
            raise ModelError(
                f"a model of kind {self.estimator.kind} does not say what its features add: give it `contributions`"
            )
        parts = self.estimator.contributions(values)
        parts[:, -1] += log(self.keep_rate)
        return parts
