"""What serving counted between two looks: impressions of the service, and the champion's scores."""

from collections.abc import Iterator, Mapping
from operator import add
from typing import Final

from perch.adapters.metrics.port import MetricsSource
from perch.core.drift import Histogram
from perch.core.types import Arm, Counts
from perch.signals.observe import Totals, difference, version_of

_NONE: Final[Histogram] = ()
_LIVE: Final = (Arm.BASELINE, Arm.STABLE, Arm.CANARY)


class Counting:
    """Remembers the last totals of each process. What was counted while nobody looked, at a restart, is left out."""

    def __init__(self, metrics: MetricsSource) -> None:
        self._metrics = metrics
        self._totals: Mapping[str, Totals] = {}

    async def since_last(self, champion: int) -> tuple[int, Histogram]:
        """Live requests that were answered since the last call, and the champion's scores by bin; empty: none."""
        read = await self._metrics.read()
        answered, scores = 0, _NONE
        for source, totals in read.items():
            for counts in self._live(source, totals or {}):
                answered += counts.answered
                if version_of(source) == champion:
                    scores = tuple(map(add, scores, counts.scores)) if scores else counts.scores
        self._totals = {**self._totals, **{source: totals for source, totals in read.items() if totals is not None}}
        self._totals = {source: totals for source, totals in self._totals.items() if source in read}
        return answered, scores

    def _live(self, source: str, totals: Totals) -> Iterator[Counts]:
        before = self._totals.get(source)
        for arm in _LIVE:
            if arm in totals and before is not None:
                yield difference(before[arm], totals[arm]) if arm in before else totals[arm]
