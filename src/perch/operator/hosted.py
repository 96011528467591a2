"""One ModelService object, run by the same loop as on one machine.

The object's `spec` is a wish: a version that differs from the champion asks for a rollout. It is tried once; what came
home stays home until the wish changes, or a person asks for a retry.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from perch.adapters.traffic.gateway import SETTLING_S
from perch.core import Policy
from perch.core.types import Command
from perch.errors import PerchError, RolloutError
from perch.operator.reporting import ACCEPTED, READY, condition
from perch.operator.store import StatusStore, now_utc
from perch.rollout.service import Service
from perch.settings import ModelService

REQUEST_ANNOTATION: Final = "perch.dev/request"
"""Where a person's request stands, as JSON: `{"id": "...", "verb": "pause"}`; each has an id of its own."""

VERBS: Final = {
    "pause": Command.PAUSE,
    "resume": Command.RESUME,
    "promote": Command.PROMOTE,
    "rollback": Command.ROLL_BACK,
}
RETRY: Final = "retry"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the object says now."""

    declaration: ModelService
    generation: int
    request: str | None
    """Text of the request annotation."""


class Parts(Protocol):
    """What a hosted service is made of; the operator makes it, a test may."""

    service: Service
    store: StatusStore

    async def close(self) -> None:
        """Close the connections."""
        ...


class Hosted:
    """Ticks one service and follows its object's wishes."""

    def __init__(self, parts: Parts, notify: Callable[[str], None]) -> None:
        self._service = parts.service
        self._store = parts.store
        self._notify = notify
        self._releasing: asyncio.Task[None] | None = None
        self._refused: tuple[int, int] | None = None
        self._tried: int | None = None

    async def open(self, wish: Wish) -> None:
        """Bring up what ran when the service was last closed; raises as `Service.open` does."""
        await self._service.open()
        self._tried = self._service.last_tried
        await self._tell(wish, READY, "True", "Serving", "The champion serves.")

    async def step(self, wish: Wish, now_s: float) -> None:
        """Follow the wish and tick once. What a person got wrong is told in a condition, and stops nothing."""
        await self._follow_request(wish, now_s)
        await self._follow_version(wish, now_s)
        await self._service.tick(now_s)

    async def close(self) -> None:
        """End a release that waits for its version, and wait for versions that are being stopped."""
        if self._releasing is not None:
            self._releasing.cancel()
            await asyncio.gather(self._releasing, return_exceptions=True)
        await self._service.close()

    async def _follow_version(self, wish: Wish, now_s: float) -> None:
        version = wish.declaration.spec.version
        if version is None or self.is_busy or version in {self._service.champion, self._tried}:
            return
        if (wish.generation, version) == self._refused:
            return
        policy = policy_of(wish)
        self._start(wish, lambda: self._service.release(version, policy, now_s), version)

    async def _follow_request(self, wish: Wish, now_s: float) -> None:
        if wish.request is None:
            return
        try:
            request = _parsed(wish.request)
        except ValueError:
            await self._tell(wish, ACCEPTED, "False", "Unreadable", f"{REQUEST_ANNOTATION} holds no request.")
            return
        if request["id"] == self._store.request:
            return
        await self._store.acknowledge(request["id"])
        try:
            if request["verb"] == RETRY:
                self._retry(wish, now_s)
            else:
                self._service.command(VERBS[request["verb"]])
        except RolloutError as error:
            await self._tell(wish, ACCEPTED, "False", "Refused", str(error))

    def _retry(self, wish: Wish, now_s: float) -> None:
        """Release the wanted version again, whatever became of it before: a person insists."""
        version = wish.declaration.spec.version
        if self.is_busy:
            raise RolloutError("A rollout is in progress already, so there is nothing to retry.")
        if version is None:
            raise RolloutError("The object wants no version, so there is nothing to retry. Set spec.version.")
        self._start(wish, lambda: self._service.release(version, policy_of(wish), now_s, override=True), version)

    @property
    def is_busy(self) -> bool:
        """A rollout is in progress, or about to begin."""
        return self._service.rolling or (self._releasing is not None and not self._releasing.done())

    def _start(self, wish: Wish, release: Callable[[], Awaitable[str]], version: int) -> None:
        """Release beside the ticks: until a version is warm, the others go on."""

        async def run() -> None:
            try:
                name = await release()
            except (PerchError, OSError) as error:
                self._refused = wish.generation, version
                await self._tell(wish, ACCEPTED, "False", "Refused", str(error))
            else:
                self._tried = self._service.last_tried
                await self._tell(wish, ACCEPTED, "True", "Released", f"Rollout {name} has begun.")

        self._releasing = asyncio.create_task(run())

    async def _tell(self, wish: Wish, kind: str, status: Any, reason: str, message: str) -> None:  # noqa: ANN401
        if status == "False":
            self._notify(message)
        told = condition(kind, message, status=status, reason=reason, generation=wish.generation, since=now_utc())
        await self._store.note(wish.generation, told)


def policy_of(wish: Wish) -> Policy:
    """The declared policy, with the time that a gateway needs to follow."""
    declared = wish.declaration.spec.policy
    return replace(declared, settling_s=max(declared.settling_s, SETTLING_S))


def _parsed(text: str) -> Mapping[str, str]:
    request: dict[str, str] = json.loads(text)
    is_meant = isinstance(request, dict) and isinstance(request.get("id"), str)
    if not is_meant or request.get("verb") not in {*VERBS, RETRY}:
        raise ValueError(text)
    return request
