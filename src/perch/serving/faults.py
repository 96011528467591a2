"""Faults that a demonstration or a test can switch on while a process serves. Off, they cost one comparison.

They are real faults as far as counters and callers can tell: an injected error is answered and counted like any
other, and silence keeps the connection open until the caller gives up.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Literal, TypeAlias

import msgspec

from perch.asgi import Receive
from perch.serving.columns import Value, bad_request
from perch.serving.scoring import Score, Scores
from perch.workload.features import Columns
from perch.workload.schema import Schema

_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Change: TypeAlias = Callable[[list[Value]], list[Value]]

_REMEMBERED_ROWS = 1000


class Skew(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input is not what training saw: training-serving skew."""

    column: str
    how: Literal["scale", "null", "shuffle"]
    """Multiply the numbers by `factor`; lose every value; or take values of earlier rows."""

    factor: float = 1.0


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is broken now; nothing by default."""

    error_rate: _Share = 0.0
    """This share of the requests fails with 500."""

    latency_ms: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Added to each request, in milliseconds."""

    constant_score: _Share | None = None
    """Every row has this probability."""

    skew: Skew | None = None
    silent: bool = False
    """Requests are never answered."""


class InjectedError(Exception):
    """The error that `Faults.error_rate` asks for."""


class FaultSwitch:
    """The scoring function of a process, and what is broken about it now."""

    def __init__(self, score: Score, schema: Schema) -> None:
        self._healthy = score
        self._schema = schema
        self.set(Faults())

    faults: Faults
    """What is broken now."""

    score: Score
    """The scoring function, wrapped in its faults."""

    disturbs: bool
    """Whether `disturb` does anything."""

    def set(self, faults: Faults) -> None:
        """Break what is named and mend all else.

        Raises:
            Refusal: 400, the skewed column does not exist or cannot be multiplied.
        """
        score = self._healthy
        if faults.skew is not None:
            score = _skewed(score, faults.skew.column, self._change(faults.skew))
        if faults.constant_score is not None:
            score = _constant(score, faults.constant_score)
        self.faults = faults
        self.score = score
        self.disturbs = faults.silent or faults.latency_ms > 0 or faults.error_rate > 0

    async def disturb(self, receive: Receive) -> None:
        """Be silent until the caller has given up, be late, or fail, as is asked for.

        Raises:
            InjectedError: this request is to fail.
        """
        if self.faults.silent:
            while (await receive())["type"] != "http.disconnect":
                pass
            raise InjectedError("Silence was switched on, and the caller gave up waiting.")
        if self.faults.latency_ms > 0:
            await asyncio.sleep(self.faults.latency_ms / 1000)
        if random.random() < self.faults.error_rate:
            raise InjectedError("Errors were switched on.")

    def _change(self, skew: Skew) -> _Change:
        if skew.column not in self._schema.inputs:
            raise bad_request(
                f"There is no column {skew.column!r} to skew; there are {', '.join(self._schema.inputs)}."
            )
        if skew.how == "null":
            return lambda values: [None] * len(values)
        if skew.how == "shuffle":
            return _Shuffle()
        if skew.column not in self._schema.numeric:
            raise bad_request(f"Column {skew.column!r} holds no numbers to multiply; skew it by `null` or `shuffle`.")
        return lambda values: [value * skew.factor if isinstance(value, float) else value for value in values]


class _Shuffle:
    """Swaps values with those of earlier rows, because the rows of one request can all have the same value."""

    def __init__(self) -> None:
        self._seen: deque[Value] = deque(maxlen=_REMEMBERED_ROWS)

    def __call__(self, values: list[Value]) -> list[Value]:
        self._seen.extend(values)
        return random.choices(self._seen, k=len(values))


def _skewed(score: Score, column: str, change: _Change) -> Score:
    def skewed(columns: Columns) -> Scores:
        given: Columns = {**columns, column: change(list(columns[column]))}  # type: ignore[dict-item]  # same type of column
        return replace(score(given), given=given)

    return skewed


def _constant(score: Score, constant: float) -> Score:
    def constantly(columns: Columns) -> Scores:
        scores = score(columns)
        return replace(scores, probabilities=[constant] * len(scores.probabilities))

    return constantly
