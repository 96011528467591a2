"""A twin in memory: says what it is told to say."""

from collections.abc import Mapping

from perch.core.types import Counts


class MemorySource:
    """Implements `MetricsSource` over a mapping that a test or a simulation changes as it goes."""

    def __init__(self) -> None:
        self.totals: dict[str, Mapping[str, Counts] | None] = {}
        """Totals of each source by arm; `None` for one that does not answer."""

    async def read(self) -> Mapping[str, Mapping[str, Counts] | None]:
        """See `MetricsSource.read`."""
        return dict(self.totals)
