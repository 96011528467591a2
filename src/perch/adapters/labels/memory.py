"""A twin in memory: labels are what a test or a simulation says."""

from operator import add

from perch.core.decay import Matured
from perch.core.types import Judgement, Outcomes
from perch.signals.labels import Arrivals, Comparison, Cursor
from perch.signals.matured import MaturedSince


class MemoryLabels:
    """Implements `LabelSource` over a list that grows as a test goes on; whose labels they are is not looked at."""

    def __init__(self) -> None:
        self.known: list[Outcomes] = []
        """What became known, one entry after the other."""

        self.judged: list[Judgement] = []
        """What was judged, one window after the other."""

        self.final: list[tuple[float, int, Matured]] = []
        """What became final: the time of the requests, their version, and the sums."""

        self.is_away = False
        """Whether nobody answers."""

    async def since(self, comparison: Comparison, cursor: Cursor) -> Arrivals | None:
        """See `LabelSource.since`; the cursor counts the entries."""
        if self.is_away:
            return None
        outcomes = Outcomes()
        for entry in self.known[cursor.clicks :]:
            paired = tuple(map(add, outcomes.paired, entry.paired)) if outcomes.paired and entry.paired else ()
            outcomes = Outcomes(outcomes.cohorts + entry.cohorts, paired or outcomes.paired or entry.paired)
        judged = self.judged[int(cursor.judged_s) :] if comparison.judged else []
        return Arrivals(outcomes, Cursor(len(self.known), judged_s=cursor.judged_s + len(judged)), tuple(judged))

    async def matured(self, version: int, since_s: float) -> MaturedSince | None:
        """See `LabelSource.matured`."""
        if self.is_away:
            return None
        found = [(time_s, sums) for time_s, of, sums in self.final if of == version and time_s > since_s]
        until_s = max((time_s for time_s, _, _ in self.final), default=since_s)
        return MaturedSince(sum((sums for _, sums in found), start=Matured()), max(until_s, since_s))
