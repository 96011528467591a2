"""What Perch asks of whatever knows what became of requests."""

from typing import Protocol

from perch.signals.labels import Arrivals, Comparison, Cursor
from perch.signals.matured import MaturedSince


class LabelSource(Protocol):
    """Reads the labels of a rollout."""

    async def since(self, comparison: Comparison, cursor: Cursor) -> Arrivals | None:
        """What became known since `cursor`, which is that of the last answer, or a fresh one at first.

        Asking again with the same cursor gives the same labels again, with those that have come since; asking with the
        new one gives none of them. `None`: the source did not answer in time, or not with labels, which never raises.
        The labels come with a later answer.
        """
        ...

    async def matured(self, version: int, since_s: float) -> MaturedSince | None:
        """What became final of a version's live requests after `since_s`, a step of it at a time; `None` as above."""
        ...
