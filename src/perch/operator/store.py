"""Keeps what a service remembers in the status of its object, so that an operator that starts goes on from there."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from lightkube import AsyncClient
from lightkube.core.exceptions import ApiError
from lightkube.types import PatchType
from pydantic import ValidationError

from perch.adapters.cluster.objects import CONFLICT, FIELD_MANAGER, ModelServiceObject, calling
from perch.adapters.cluster.writing import writing
from perch.core.types import Weights
from perch.errors import PlatformError, RolloutError
from perch.operator.reporting import told, unpacked
from perch.rollout.standing import Standing
from perch.settings.status import Condition, Drift, Freshness, ModelServiceStatus


class SupersededError(PlatformError):
    """Somebody else wrote what only we should: what we know is not what stands there."""


class StatusStore:
    """A `Store` of the standing in the status of one ModelService object.

    Each write names the version of the object that it was made for. When it was another's write of the status that
    came between, ours is refused: an operator that slept while another took over changes nothing.
    """

    def __init__(
        self,
        client: AsyncClient,
        name: str,
        namespace: str,
        *,
        operator: str,
        may_write: Callable[[], None],
        weights: Callable[[Standing], Weights],
    ) -> None:
        """Make a store.

        Args:
            client: Of the API server.
            name: Of the object.
            namespace: Of the object.
            operator: Namespace of the Perch that runs the object; each write claims it for this one.
            may_write: Raises `PlatformError` when another operator writes.
            weights: Where a standing wants the traffic.
        """
        self._client = client
        self._name = name
        self._namespace = namespace
        self._operator = operator
        self._may_write = may_write
        self._weights = weights
        self._status = ModelServiceStatus.of({})
        self._version: str | None = None
        self._writing = asyncio.Lock()

    async def load(self) -> Standing | None:
        """See `Store.load`."""
        self._status, self._version = await self._read()
        return unpacked(self._status.engine) if self._status.engine else None

    async def claimant(self) -> str | None:
        """Namespace of the Perch that ran the object last; `None` before any did.

        Raises:
            PlatformError: the API server does not answer.
            RolloutError: the status is not what we write.
        """
        self._status, self._version = await self._read()
        return self._status.operator

    async def save(self, standing: Standing) -> None:
        """See `Store.save`."""
        status = told(standing, self._weights(standing))
        async with self._writing:
            now = self._status
            kept = {
                "observed_generation": now.observed_generation,
                "conditions": now.conditions,
                "request": now.request,
                "freshness": now.freshness,
                "drift": now.drift,
            }
            await self._write(status.model_copy(update=kept))

    async def note(self, generation: int, condition: Condition) -> bool:
        """Tell a condition; whether it was another one before."""
        async with self._writing:
            kept = {one.type: one for one in self._status.conditions}
            before = kept.get(condition.type)
            if before is not None and before.status == condition.status:
                condition = condition.model_copy(update={"last_transition_time": before.last_transition_time})
            conditions = tuple({**kept, condition.type: condition}.values())
            update = {"observed_generation": generation, "conditions": conditions}
            await self._write(self._status.model_copy(update=update))
        return before is None or (before.status, before.message) != (condition.status, condition.message)

    async def acknowledge(self, request: str) -> None:
        """Tell that a person's request was taken on."""
        async with self._writing:
            await self._write(self._status.model_copy(update={"request": request}))

    async def note_freshness(self, freshness: Freshness) -> None:
        """Tell how fresh the model is."""
        async with self._writing:
            await self._write(self._status.model_copy(update={"freshness": freshness}))

    async def note_drift(self, drift: Drift) -> None:
        """Tell how the inputs stand."""
        async with self._writing:
            await self._write(self._status.model_copy(update={"drift": drift}))

    @property
    def request(self) -> str | None:
        """The last request that was taken on."""
        return self._status.request

    @property
    def told(self) -> ModelServiceStatus:
        """The status as it was last written."""
        return self._status

    async def _read(self) -> tuple[ModelServiceStatus, str]:
        """The status, and the version of the object that has it."""
        with calling(f"read ModelService {self._name}"):
            found = await self._client.get(ModelServiceObject, self._name, namespace=self._namespace)
        return self._status_of(found), found["metadata"]["resourceVersion"]

    def _status_of(self, found: Mapping[str, Any]) -> ModelServiceStatus:
        try:
            return ModelServiceStatus.of(found)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise RolloutError(f"The status of ModelService {self._name} is not ours at {where}: clear it.") from None

    async def _write(self, status: ModelServiceStatus) -> None:
        status = status.model_copy(update={"operator": self._operator})
        if status == self._status:
            return
        while not await self._replace(status):
            found, version = await self._read()
            if found != self._status:
                raise SupersededError(
                    f"The status of ModelService {self._name} was written by somebody else; it is read again."
                )
            self._version = version

    async def _replace(self, status: ModelServiceStatus) -> bool:
        """Write the status; whether the object was still the one that we know."""
        # Fields that have become empty are named as such: a merge would keep them.
        patch = {
            "metadata": {"resourceVersion": self._version},
            "status": status.model_dump(by_alias=True, mode="json"),
        }
        async with writing(f"write the status of ModelService {self._name}", self._may_write):
            try:
                written = await self._client.patch(
                    ModelServiceObject.Status,
                    self._name,
                    patch,
                    namespace=self._namespace,
                    patch_type=PatchType.MERGE,
                    field_manager=FIELD_MANAGER,
                )
            except ApiError as error:
                if error.status.code == CONFLICT:
                    return False
                raise
        self._status, self._version = self._status_of(written), written["metadata"]["resourceVersion"]
        return True


def now_utc() -> datetime:
    """The time, as Kubernetes writes it: to the second."""
    return datetime.now(tz=UTC).replace(microsecond=0)
