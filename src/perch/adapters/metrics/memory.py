"""A twin in memory: says what it is told to say."""

from collections.abc import Mapping

from perch.core.types import Counts
from perch.signals.inputs import Inputs


class MemorySource:
    """Implements `MetricsSource` and `InputSource` over mappings that a test or a simulation changes as it goes."""

    def __init__(self) -> None:
        self.totals: dict[str, Mapping[str, Counts] | None] = {}
        """Totals of each source by arm; `None` for one that does not answer."""

        self.asked: dict[str, Inputs | None] = {}
        """Inputs of each source; `None` for one that does not tell."""

    async def read(self) -> Mapping[str, Mapping[str, Counts] | None]:
        """See `MetricsSource.read`."""
        return dict(self.totals)

    async def inputs(self) -> Mapping[str, Inputs | None]:
        """See `InputSource.inputs`."""
        return dict(self.asked)
