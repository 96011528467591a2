"""What is remembered of a service's freshness, in the status of its object."""

import base64
import zlib
from datetime import UTC, datetime

from perch.core.codec import dumps, loads
from perch.errors import RolloutError
from perch.freshness.store import Remembered
from perch.operator.store import StatusStore
from perch.settings.status import Freshness


class StatusFreshness:
    """A `FreshnessStore` over a `StatusStore` that has been loaded."""

    def __init__(self, store: StatusStore) -> None:
        self._store = store

    async def load(self) -> Remembered:
        """See `FreshnessStore.load`."""
        told = self._store.told.freshness
        return Remembered() if told is None else unpacked(told)

    async def save(self, remembered: Remembered) -> None:
        """See `FreshnessStore.save`."""
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
            "state": base64.b64encode(zlib.compress(dumps(remembered).encode())).decode(),
        }
    )


def unpacked(told: Freshness) -> Remembered:
    """The inverse of `packed`; raises `RolloutError` when the text is something else."""
    try:
        return loads(Remembered, zlib.decompress(base64.b64decode(told.state, validate=True)).decode())
    except (ValueError, zlib.error, RolloutError) as error:
        raise RolloutError(
            f"status.freshness does not say how fresh the model is: {error}. Clear it, and age is counted anew."
        ) from None


def _moment(time_s: float) -> datetime:
    return datetime.fromtimestamp(time_s, tz=UTC).replace(microsecond=0)
