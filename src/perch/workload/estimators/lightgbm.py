"""Gradient-boosted trees by LightGBM, the kind of the challenger. Stored in LightGBM's own text format."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Self

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from perch.errors import ModelError
from perch.workload.features import FeatureColumns, Floats
from perch.workload.schema import Schema

TREES: Final = 100

PARAMETERS: Final[Mapping[str, Any]] = {
    "objective": "binary",
    "learning_rate": 0.06,
    "num_leaves": 31,
    "min_data_in_leaf": 100,
    "lambda_l2": 10.0,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}
"""Names and values are LightGBM's. One thread and row-wise histograms make training reproducible."""


class Model:
    """Gradient-boosted trees by LightGBM: the challenger. Small enough to score a slate well within a millisecond."""

    kind: ClassVar[str] = "lightgbm"
    file: ClassVar[str] = "model.txt"

    def __init__(self, booster: lgb.Booster) -> None:
        self._booster = booster

    @staticmethod
    def columns(schema: Schema) -> FeatureColumns:
        """Every input and cross."""
        return FeatureColumns(schema.numeric, schema.categorical, schema.crosses)

    @staticmethod
    def bytes_per_row(features: int) -> int:
        """A byte for the bin of each feature; label, score, gradient, curvature and the leaf's row numbers."""
        return features + 48

    @classmethod
    def fit(cls, values: Floats, clicked: NDArray[np.bool_], *, names: Sequence[str], seed: int) -> Self:
        """Fit `TREES` trees with `PARAMETERS`."""
        data = lgb.Dataset(values, clicked.astype(np.float32), feature_name=list(names))
        return cls(lgb.train({**PARAMETERS, "seed": seed}, data, num_boost_round=TREES))

    def predict(self, values: Floats) -> Floats:
        """Probability of a click for each row, on the scale of the training sample."""
        return np.asarray(self._booster.predict(values, num_threads=1))

    def contributions(self, values: Floats) -> Floats:
        """See `Additive`: TreeSHAP (Lundberg et al., *From local explanations to global understanding*, 2020)."""
        return np.asarray(self._booster.predict(values, pred_contrib=True, num_threads=1))

    def to_bytes(self) -> bytes:
        """LightGBM's own text format."""
        text: str = self._booster.model_to_string()
        return text.encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read LightGBM's text format. Raises `ModelError` when it is not that."""
        try:
            return cls(lgb.Booster(model_str=content.decode()))
        except (UnicodeDecodeError, lgb.basic.LightGBMError) as error:
            raise ModelError(f"{cls.file} is not a LightGBM model ({error}): register it again") from error
