"""What is remembered of a service's inputs, in the status of its object."""

from perch.core.inputs import findings
from perch.drift.remembered import Remembered
from perch.operator import packing
from perch.operator.store import StatusStore
from perch.settings.status import Drift


class StatusDrift:
    """A `Store` over a `StatusStore` that has been loaded."""

    def __init__(self, store: StatusStore) -> None:
        self._store = store

    async def load(self) -> Remembered | None:
        """See `Store.load`."""
        told = self._store.told.drift
        return None if told is None else unpacked(told)

    async def save(self, remembered: Remembered) -> None:
        """See `Store.save`."""
        await self._store.note_drift(packed(remembered))


def packed(remembered: Remembered) -> Drift:
    """What is remembered, for people and for the operator after a restart."""
    names = dict.fromkeys(name for finding in findings(remembered.state) for name in finding.features)
    state = packing.packed(remembered)
    return Drift.model_validate({"inputs": tuple(names), "sentence": remembered.sentence, "state": state})


def unpacked(told: Drift) -> Remembered:
    """The inverse of `packed`; raises `RolloutError` when the text is something else."""
    return packing.unpacked(
        Remembered, told.state, "drift", tells="which inputs drift", remedy="they are looked at anew."
    )
