"""Attributes a few scores to their inputs while others are answered, in a thread of its own.

A row of trees takes half a millisecond, ten times what its score does. LightGBM lets go of the interpreter meanwhile,
and no request waits: neither the others, nor the one whose row it is. Two kinds of rows are attributed: the shown rows
of which events tell the inputs, as far as the thread keeps up; and, for what inputs add on average, the first row of a
request four times a second, whatever its id and its answer.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeAlias

from perch.signals import exposition, names
from perch.workload.attribution import Attributor
from perch.workload.features import Floats
from perch.workload.profile import Attribution

SAMPLE_S = 0.25
"""Time between two rows that are counted: 1,200 a window, for a three-hundredth of a processor."""

IN_WORK_LIMIT = 16
"""Rows of events that are attributed at a time; their events wait 10 ms for the last one, and further ones for none."""

_DECIMALS = 6

Attributions: TypeAlias = asyncio.Future[Mapping[str, float]]
"""What each input added to the log-odds of a row, when it is known."""


class AttributionCounts:
    """What inputs added to the scores of one arm. All of it only grows, so counts of processes can be added."""

    def __init__(self, inputs: int) -> None:
        """Begin with nothing, of so many inputs."""
        self.rows = 0
        self.up = [0.0] * inputs
        self.down = [0.0] * inputs
        self.squared = [0.0] * inputs

    def add(self, parts: Sequence[float]) -> None:
        """Count one row by what each input added to its log-odds."""
        self.rows += 1
        for position, part in enumerate(parts):
            self.up[position] += max(part, 0.0)
            self.down[position] += max(-part, 0.0)
            self.squared[position] += part * part


class Attributing:
    """The thread, and what it works with."""

    def __init__(
        self, attributor: Attributor, trained: Sequence[Attribution], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin the thread.

        Args:
            attributor: Says what inputs add.
            trained: What each added in training. Where that is not known of just these inputs, as of a package of an
                earlier Perch, no row is counted: there is nothing to compare it with.
            clock: Time in seconds.
        """
        self._attributor = attributor
        self._clock = clock
        comparable = tuple(one.name for one in trained) == attributor.inputs
        self._next_s = float("-inf") if comparable else float("inf")
        self._in_work = 0
        self._thread = ThreadPoolExecutor(1, "attribute")

    def row(self, features: Floats, row: int) -> Attributions | None:
        """What each input adds to the log-odds of one row of a matrix, rounded to a millionth; `None`: too many wait.

        Returns at once.
        """
        if self._in_work >= IN_WORK_LIMIT:
            return None
        self._in_work += 1
        attributions = asyncio.get_running_loop().run_in_executor(self._thread, self._named, features[row : row + 1])
        attributions.add_done_callback(self._finish)
        return attributions

    def sample(self, counts: AttributionCounts, features: Floats) -> None:
        """Count the first row of a matrix when it is time to, and there is what to compare with; returns at once."""
        now_s = self._clock()
        if now_s >= self._next_s:
            self._next_s = now_s + SAMPLE_S
            self._later(features[:1]).add_done_callback(partial(_count, counts))

    def _later(self, features: Floats) -> "asyncio.Future[list[float]]":
        return asyncio.get_running_loop().run_in_executor(self._thread, self._parts, features)

    def _finish(self, _: Attributions) -> None:
        self._in_work -= 1

    def _named(self, features: Floats) -> Mapping[str, float]:
        return dict(zip(self._attributor.inputs, self._parts(features), strict=True))

    def _parts(self, features: Floats) -> list[float]:
        parts = self._attributor.inputs_of(self._attributor.features_of(features))
        added: list[float] = parts[0].round(_DECIMALS).tolist()
        return added


def _count(counts: AttributionCounts, parts: "asyncio.Future[list[float]]") -> None:
    if parts.exception() is None:  # what a model cannot attribute, it has scored
        counts.add(parts.result())


def attribution_lines(
    identity: Mapping[str, str], trained: Sequence[Attribution], arms: Mapping[str, AttributionCounts]
) -> Iterator[str]:
    """What was counted beside what was trained, in Prometheus' text format. Arms without a row are left out.

    Args:
        identity: Labels of the version.
        trained: What each input added in training.
        arms: What was counted by arm.
    """
    told = {exposition.labels(**identity, arm=arm): counts for arm, counts in arms.items() if counts.rows}
    yield from exposition.header(
        f"{names.ATTRIBUTED}_total", "counter", "Requests of which it is counted what inputs add."
    )
    yield from (f"{names.ATTRIBUTED}_total{{{of}}} {counts.rows}" for of, counts in told.items())
    for name, promise, summed in _FAMILIES:
        yield from exposition.header(f"{name}_total", "counter", promise)
        for of, counts in told.items():
            for one, value in zip(trained, summed(counts), strict=True):
                yield f"{name}_total{{{of},{exposition.labels(feature=one.name)}}} {value:.6f}"
    yield from exposition.header(names.ATTRIBUTION_TRAINED, "gauge", "What inputs added in training.")
    for one in trained:
        for figure in ("rows", "mean", "magnitude", "square", "natural_mean", "natural_magnitude"):
            labels = exposition.labels(**identity, feature=one.name, figure=figure)
            yield f"{names.ATTRIBUTION_TRAINED}{{{labels}}} {getattr(one, figure):.6g}"


_Summed = Callable[[AttributionCounts], Sequence[float]]
_FAMILIES: Sequence[tuple[str, str, _Summed]] = (
    (names.ATTRIBUTION_UP, "Sum of what an input added to the log-odds, where above 0.", lambda counts: counts.up),
    (names.ATTRIBUTION_DOWN, "Sum of what it added, where below 0.", lambda counts: counts.down),
    (names.ATTRIBUTION_SQUARED, "Sum of the squares of it.", lambda counts: counts.squared),
)
