"""What is remembered of a service's freshness, in the status of its object."""

from datetime import UTC, datetime

from perch.freshness.remembered import Remembered
from perch.operator import packing
from perch.operator.store import StatusStore
from perch.settings.status import Freshness


class StatusFreshness:
    """A `Store` over a `StatusStore` that has been loaded."""

    def __init__(self, store: StatusStore) -> None:
        self._store = store

    async def load(self) -> Remembered | None:
        """See `Store.load`."""
        told = self._store.told.freshness
        return None if told is None else unpacked(told)

    async def save(self, remembered: Remembered) -> None:
        """See `Store.save`."""
        await self._store.note_freshness(packed(remembered))


def packed(remembered: Remembered) -> Freshness:
    """What is remembered, for people and for the operator after a restart."""
    state = remembered.state
    return Freshness.model_validate(
        {
            "freshSince": _moment(state.fresh_s),
            "due": _moment(remembered.due_s),
            "lostClicks": round(state.lost_clicks, 3),
            "lossPerHour": state.loss_per_hour,
            "runsLeft": round(state.tokens or 0.0, 2),
            "run": state.run,
            "inProgress": remembered.in_progress,
            "sentence": state.sentence,
            "state": packing.packed(remembered),
        }
    )


def unpacked(told: Freshness) -> Remembered:
    """The inverse of `packed`; raises `RolloutError` when the text is something else."""
    return packing.unpacked(
        Remembered, told.state, "freshness", tells="how fresh the model is", remedy="age is counted anew."
    )


def _moment(time_s: float) -> datetime:
    return datetime.fromtimestamp(time_s, tz=UTC).replace(microsecond=0)
