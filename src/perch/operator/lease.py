"""The right to move weights in a cluster: one operator has it at a time.

It is a Lease object that its holder renews. Whoever cannot renew it in time stops writing before anybody else may take
it: the holder trusts it for less time than it lasts, measured on its own clock from before it asked. Two operators
never compare clocks: one that waits takes the lease when it has not seen it change for as long as it lasts.
(Kubernetes, Leases; client-go's leader election works alike.)
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from lightkube import AsyncClient
from lightkube.core.exceptions import ApiError
from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.coordination_v1 import Lease as LeaseObject

from perch.adapters.cluster.objects import CONFLICT, FIELD_MANAGER, calling
from perch.adapters.cluster.writing import WRITE_S, find
from perch.errors import PlatformError

LASTS_S: Final = 10
"""How long a lease lasts that nobody renews."""

RENEW_S: Final = 2.0
TRUSTED_S: Final = LASTS_S - WRITE_S
"""How long its holder relies on it after it asked: the rest is for a write that is on its way."""

_log = logging.getLogger(__name__)

_NAME = "perch-operator"


class Lease:
    """Holds the lease, or waits for it."""

    def __init__(self, client: AsyncClient, namespace: str, holder: str, clock_s: Callable[[], float]) -> None:
        """Make one that nobody holds yet; `keep` takes it.

        Args:
            client: Of the API server.
            namespace: Where the Lease object stands.
            holder: Who we are; differs between any two operators.
            clock_s: A clock that never goes back.
        """
        self._client = client
        self._namespace = namespace
        self._holder = holder
        self._clock_s = clock_s
        self._trusted_until_s = float("-inf")
        self._seen: tuple[str | None, float] = (None, float("-inf"))

    @property
    def held(self) -> bool:
        """Whether we may write now."""
        return self._clock_s() < self._trusted_until_s

    def check(self) -> None:
        """Raise `PlatformError` unless we may write now."""
        if not self.held:
            raise PlatformError("This operator does not hold the lease, so it leaves the weights to the one that does.")

    async def keep(self) -> None:
        """Take the lease when it is free and renew it, for ever. An API server that is away costs it."""
        while True:
            asked_s = self._clock_s()
            try:
                is_ours = await self._ask(asked_s)
                self._trusted_until_s = asked_s + TRUSTED_S if is_ours else float("-inf")
            except PlatformError as error:  # it is trusted until its time is over
                _log.warning("%s", error)
            except Exception:  # noqa: BLE001  whatever an API server answers: the next try must come
                _log.exception("The lease was not renewed.")
            await asyncio.sleep(RENEW_S)

    async def is_kept(self, namespace: str) -> bool:
        """Whether an operator lives whose lease stands in another namespace: it is renewed while we look.

        Raises:
            PlatformError: that cannot be told.
        """
        seen = []
        for wait_s in (LASTS_S + RENEW_S, 0.0):
            with calling(f"read the lease of the Perch in {namespace}"):
                found = await find(self._client, LeaseObject, _NAME, namespace)
            if found is None or found.spec is None or not found.spec.holderIdentity:
                return False
            assert found.metadata is not None
            seen.append(found.metadata.resourceVersion)
            await asyncio.sleep(wait_s)
        return seen[0] != seen[1]

    async def give_back(self) -> None:
        """Let another operator have it at once; one that cannot be told waits until it has run out."""
        if not self.held:
            return
        self._trusted_until_s = float("-inf")
        with contextlib.suppress(PlatformError), calling("give the operator's lease back"):
            found = await self._client.get(LeaseObject, _NAME, namespace=self._namespace)
            if found.spec is not None and found.spec.holderIdentity == self._holder:
                found.spec.holderIdentity = ""
                await self._client.replace(found, field_manager=FIELD_MANAGER)

    async def _ask(self, now_s: float) -> bool:
        """Try once to take or renew it; whether we hold it now."""
        with calling("renew the operator's lease"):
            found = await find(self._client, LeaseObject, _NAME, self._namespace)
            if found is not None and not self._may_take(found, now_s):
                return False
            try:
                await self._write(found)
            except ApiError as error:
                if error.status.code == CONFLICT:  # another one was faster
                    return False
                raise
        return True

    def _may_take(self, found: LeaseObject, now_s: float) -> bool:
        """Whether it is ours, free, or has not changed for as long as it lasts."""
        assert found.metadata is not None
        if found.spec is None or found.spec.holderIdentity in {self._holder, None, ""}:
            return True
        version, since_s = self._seen
        if found.metadata.resourceVersion != version:
            self._seen = found.metadata.resourceVersion, self._clock_s()  # it may have been written since we asked
            return False
        return now_s - since_s > LASTS_S

    async def _write(self, found: LeaseObject | None) -> None:
        """Write our name; with the version that was read, so that it fails when another one wrote meanwhile."""
        made = ObjectMeta(name=_NAME, namespace=self._namespace)
        metadata = made if found is None or found.metadata is None else found.metadata
        spec = LeaseSpec(holderIdentity=self._holder, leaseDurationSeconds=LASTS_S, renewTime=datetime.now(tz=UTC))
        lease = LeaseObject(metadata=metadata, spec=spec)
        if found is None:
            await self._client.create(lease, field_manager=FIELD_MANAGER)
        else:
            await self._client.replace(lease, field_manager=FIELD_MANAGER)
