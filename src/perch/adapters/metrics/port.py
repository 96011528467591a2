"""What Perch asks of whatever knows the counts of the arms."""

from collections.abc import Mapping
from typing import Protocol

from perch.core.types import Counts
from perch.signals.inputs import Inputs


class MetricsSource(Protocol):
    """Reads what the serving processes counted since they started."""

    async def read(self) -> Mapping[str, Mapping[str, Counts] | None]:
        """The totals of each source (a serving process) by the label of the arm.

        `None`: this source did not answer in time, or not with counts. That is told apart from an arm without
        requests, and never raises.
        """
        ...


class InputSource(Protocol):
    """Reads what the serving processes were asked about since they started."""

    async def inputs(self) -> Mapping[str, Inputs | None]:
        """The inputs of each source, by the name that `MetricsSource.read` gives it.

        `None`: this source did not answer, or does not count its inputs. Never raises.
        """
        ...
