"""What every protocol makes of a request's body: columns to score, and a way to put the scores into an answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from perch.asgi import JSON, Headers
from perch.workload.features import Columns


@dataclass(frozen=True, slots=True)
class Answer:
    """A response's body, and what is remembered about it."""

    body: bytes
    shown: int = 0
    """The row that will be shown: the best of a slate, else the first."""

    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """Response headers of the protocol's own."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request that was understood."""

    columns: Columns
    rows: int
    answer: Callable[[str, list[float]], Answer]
    """From request id and probabilities, one for each row, to the answer."""


Parse: TypeAlias = Callable[[bytes, Headers], Question]
"""Reads a body. Raises `Refusal` when it cannot be understood."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which version of which model a process serves."""

    model: str
    version: str

    def labels(self) -> Mapping[str, str]:
        """As labels of a metric."""
        return {"model": self.model, "version": self.version}
