"""What Perch asks of whatever trains a service's model anew."""

from datetime import UTC, datetime
from typing import Protocol

from perch.core.freshness_types import Ended


class Trainings(Protocol):
    """The runs of one service: each trains, and releases what passes its gates.

    Every method raises `PlatformError` when whoever trains does not answer.
    """

    async def start(self, name: str, reason: str) -> None:
        """Begin a run; of a name that was begun before, it is the same run, whatever became of it.

        Args:
            name: Of the run, as `run_name` makes it.
            reason: Why, for the record.
        """
        ...

    async def in_progress(self) -> str | None:
        """Name of a run that has not ended, whoever began it; `None` when there is none."""
        ...

    async def last(self) -> Ended | None:
        """How the run that ended last did; `None` when none is remembered."""
        ...


def run_name(service: str, decided_s: float) -> str:
    """Name of a run by when it was decided on, in seconds since the epoch.

    It comes never again, also where what was remembered is lost; and it is a DNS label, for a service has a name of at
    most 40 characters.
    """
    return f"{service}-retrain-{datetime.fromtimestamp(decided_s, UTC):%y%m%d-%H%M%S}"
