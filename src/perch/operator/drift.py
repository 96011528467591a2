"""What is remembered of a service's inputs, in the status of its object."""

import base64
import zlib

from perch.core.codec import dumps, loads
from perch.core.inputs import findings
from perch.drift.store import Remembered
from perch.errors import RolloutError
from perch.operator.store import StatusStore
from perch.settings.status import Drift


class StatusDrift:
    """A `DriftStore` over a `StatusStore` that has been loaded."""

    def __init__(self, store: StatusStore) -> None:
        self._store = store

    async def load(self) -> Remembered:
        """See `DriftStore.load`."""
        told = self._store.told.drift
        return Remembered() if told is None else unpacked(told)

    async def save(self, remembered: Remembered) -> None:
        """See `DriftStore.save`."""
        await self._store.note_drift(packed(remembered))


def packed(remembered: Remembered) -> Drift:
    """What is remembered, for people and for the operator after a restart."""
    names = dict.fromkeys(name for finding in findings(remembered.state) for name in finding.features)
    state = base64.b64encode(zlib.compress(dumps(remembered).encode())).decode()
    return Drift.model_validate({"inputs": tuple(names), "sentence": remembered.sentence, "state": state})


def unpacked(told: Drift) -> Remembered:
    """The inverse of `packed`; raises `RolloutError` when the text is something else."""
    try:
        return loads(Remembered, zlib.decompress(base64.b64decode(told.state, validate=True)).decode())
    except (ValueError, zlib.error, RolloutError) as error:
        raise RolloutError(
            f"status.drift does not say which inputs drift: {error}. Clear it, and they are looked at anew."
        ) from None
