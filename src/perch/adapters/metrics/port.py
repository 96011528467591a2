"""What Perch asks of whatever knows the counts of the arms."""

from collections.abc import Mapping
from typing import Protocol

from perch.core.types import Counts


class MetricsSource(Protocol):
    """Reads what the serving processes counted since they started."""

    async def read(self) -> Mapping[str, Mapping[str, Counts] | None]:
        """The totals of each source (a serving process) by the label of the arm.

        `None`: this source did not answer in time, or not with counts. That is told apart from an arm without
        requests, and never raises.
        """
        ...
