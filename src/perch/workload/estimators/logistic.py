"""Logistic regression, the kind of the baseline: few parameters, and nothing in it that can surprise.

It is stored by skops, which names every type in the file, so that none is loaded that was not expected. (A pickle
runs whatever its author wrote.)
"""

import io
import re
import zipfile
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from perch.errors import ModelError
from perch.workload.features import FeatureColumns, Floats
from perch.workload.schema import Schema


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

    @classmethod
    def fit(cls, values: Floats, clicked: NDArray[np.bool_], *, names: Sequence[str], seed: int) -> Self:  # noqa: ARG003
        """Fit by L-BFGS, which is deterministic and needs no seed."""
        return cls(LogisticRegression(C=1.0, max_iter=1_000).fit(values, clicked))

    def predict(self, values: Floats) -> Floats:
        """Probability of a click for each row, on the scale of the training sample."""
        return np.asarray(1 / (1 + np.exp(-(values @ self._weights + self._intercept))))

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
