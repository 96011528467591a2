"""What the serving processes have counted, with silence told apart from no data."""

from collections.abc import Mapping

from perch.adapters.metrics.port import MetricsSource
from perch.core.types import Arm, Counts
from perch.rollout.attempt import Attempt, Totals
from perch.rollout.running import Running
from perch.signals.observe import source_name, version_of

_PATIENCE = 4
"""Ticks in a row in which only the canary's counts may be missing."""


class Counters:
    """Reads the counters of one service."""

    def __init__(self, metrics: MetricsSource, running: Running) -> None:
        self._metrics = metrics
        self._running = running
        self._missed = 0

    async def at_first(self) -> Totals:
        """The counters from which a rollout counts; a source that does not answer counts from its next answer."""
        self._missed = 0
        read = await self._metrics.read()
        return {source: totals or {} for source, totals in read.items()}

    async def during(self, attempt: Attempt) -> Mapping[str, Mapping[str, Counts] | None]:
        """The counters in mid-rollout.

        A canary that has died, or hangs while the champion answers, counts nothing more: that is silence, not no data.
        Its counters go on where they were should it come back, so nothing is lost. One that is on its way up after a
        restart gets no requests yet, so there is no data.
        """
        read = await self._metrics.read()
        answering = {version_of(source) for source, totals in read.items() if totals is not None}
        if attempt.version in answering or self._running.is_returning(attempt.version):
            self._missed = 0
            return read
        self._missed += attempt.champion in answering
        if self._missed > _PATIENCE or self._running.is_down(attempt.version):
            return {**read, **_last_known(attempt)}
        return read


def _last_known(attempt: Attempt) -> Totals:
    """What the canary had counted when it was last read; nothing where it never was."""
    known = {source: totals for source, totals in attempt.totals.items() if version_of(source) == attempt.version}
    nothing = Counts.none(attempt.state.reference.grid)
    return known or {source_name(attempt.version): {arm.value: nothing for arm in (Arm.SHADOW, Arm.CANARY)}}
