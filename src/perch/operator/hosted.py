"""One ModelService object, run by the same loop as on one machine.

The object's `spec` is a wish: a version that differs from the champion asks for a rollout. It is tried once; what came
home stays home until the wish changes, or a person asks for a retry.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

import msgspec

from perch.adapters.traffic.gateway import SETTLING_S
from perch.core import Policy
from perch.core.types import Action, Command
from perch.errors import PerchError, RolloutError
from perch.operator.reporting import ACCEPTED, READY, condition
from perch.operator.store import StatusStore, now_utc
from perch.rollout.service import Service
from perch.settings import ModelService

REQUEST_ANNOTATION: Final = "perch.dev/request"
"""Where a person's request stands, as JSON: `{"id": "...", "verb": "pause"}`; each has an id of its own.

A retry may say `"override": true`, to release the version even from quarantine and after too many rollbacks."""

_COMMANDS: Final = {
    "pause": Command.PAUSE,
    "resume": Command.RESUME,
    "promote": Command.PROMOTE,
    "rollback": Command.ROLL_BACK,
}
_REASONS: Final = {
    Action.PROMOTE: "Promoted",
    Action.ROLL_BACK: "RolledBack",
    Action.FALL_BACK: "FellBack",
}
"""Reason of the Event that tells of a decision."""

_RETRY_S: Final = 10.0


class _Request(msgspec.Struct, frozen=True):
    id: str
    verb: Literal["pause", "resume", "promote", "rollback", "retry"]
    override: bool = False


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

    async def adopt(self, *, renew: bool) -> None:
        """Take over what runs already; `renew`: for it to be brought up to date."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class Hosted:
    """Ticks one service and follows its object's wishes."""

    def __init__(self, parts: Parts, announce: Callable[[str, str], None]) -> None:
        """Make one; `open` brings it up.

        Args:
            parts: What it is made of.
            announce: Told what people should see, as an Event's reason and sentence.
        """
        self._parts = parts
        self._service = parts.service
        self._store = parts.store
        self._announce = announce
        self._releasing: asyncio.Task[None] | None = None
        self._wished: int | None = None
        self._tried: int | None = None
        self._not_before_s = 0.0

    async def open(self, wish: Wish) -> None:
        """Bring up what ran when the service was last closed; raises as `Service.open` does, and tells it, too.

        In mid-rollout nothing is brought up to date: a version whose pods change is not the one that was compared.
        """
        try:
            standing = await self._store.load()
            await self._parts.adopt(renew=standing is None or not standing.rolling)
            await self._service.open()
        except PerchError as error:
            await self._tell(wish, READY, "False", "NotServing", str(error))
            raise
        self._wished, self._tried = wish.declaration.spec.version, self._service.last_tried

    async def step(self, wish: Wish, now_s: float) -> None:
        """Follow the wish and tick once. What a person got wrong is told in a condition, and stops nothing."""
        request = await self._follow_request(wish, now_s)
        self._follow_version(wish, now_s)
        decision = await self._service.tick(now_s)
        if decision is not None and (decision.action is not Action.HOLD or not self._service.rolling):
            otherwise = "WeightsChanged" if self._service.rolling else "Ended"
            self._announce(_REASONS.get(decision.action, otherwise), decision.sentence)
        if self._service.serves:
            await self._tell(wish, READY, "True", "Serving", "The champion serves.")
        else:
            sentence = f"No pod of version {self._service.champion}, the champion, is ready."
            await self._tell(wish, READY, "False", "ChampionDown", sentence)
        if request is not None:  # only now: what is not recorded yet would be lost with the process
            await self._store.acknowledge(request)

    async def refuse(self, wish: Wish, why: str) -> None:
        """Tell that the object says what cannot be meant; what it said before holds."""
        await self._tell(wish, ACCEPTED, "False", "Refused", why)

    async def close(self) -> None:
        """End a release that waits for its version, and wait for versions that are being stopped."""
        if self._releasing is not None:
            self._releasing.cancel()
            await asyncio.gather(self._releasing, return_exceptions=True)
        await self._service.close()

    def _follow_version(self, wish: Wish, now_s: float) -> None:
        version = wish.declaration.spec.version
        if version != self._wished:
            self._wished, self._tried, self._not_before_s = version, None, 0.0
        if version is None or self.is_busy or version in {self._service.champion, self._tried}:
            return
        if now_s >= self._not_before_s:
            self._start(wish, version, now_s, override=False)

    async def _follow_request(self, wish: Wish, now_s: float) -> str | None:
        """Do what a person asks for; the id of a request that is new."""
        if wish.request is None:
            return None
        try:
            request = msgspec.json.decode(wish.request, type=_Request)
        except (msgspec.MsgspecError, RecursionError):
            await self.refuse(wish, f"{REQUEST_ANNOTATION} holds no request.")
            return None
        if request.id == self._store.request:
            return None
        try:
            if request.verb == "retry":
                version = self._retry(wish, now_s, override=request.override)
                await self._tell(wish, ACCEPTED, "Unknown", "Releasing", f"Version {version} is asked for again.")
            else:
                self._service.command(_COMMANDS[request.verb])
        except RolloutError as error:
            await self.refuse(wish, str(error))
        return request.id

    def _retry(self, wish: Wish, now_s: float, *, override: bool) -> int:
        """Release the wanted version again, and return it; raises `RolloutError` when that cannot be."""
        version = wish.declaration.spec.version
        if self.is_busy:
            raise RolloutError("A rollout is in progress already, so there is nothing to retry.")
        if version is None:
            raise RolloutError("The object wants no version, so there is nothing to retry. Set spec.version.")
        self._wished = version  # a version that is wished for in the same breath is tried once
        self._start(wish, version, now_s, override=override)
        return version

    @property
    def is_busy(self) -> bool:
        """A rollout is in progress, or about to begin."""
        return self._service.rolling or (self._releasing is not None and not self._releasing.done())

    def _start(self, wish: Wish, version: int, now_s: float, *, override: bool) -> None:
        """Release beside the ticks: until a version is warm, the others go on.

        What admission refuses is refused until the wish changes. What failed around it is tried again.
        """

        async def run() -> None:
            self._tried = version
            try:
                name = await self._service.release(version, policy_of(wish), now_s, override=override)
            except RolloutError as error:
                await self.refuse(wish, str(error))
            except (PerchError, OSError) as error:
                self._tried, self._not_before_s = None, now_s + _RETRY_S
                await self._tell(wish, ACCEPTED, "False", "TryingAgain", str(error))
            else:
                await self._tell(wish, ACCEPTED, "True", "Released", f"Rollout {name} has begun.")
                self._announce("Released", f"Rollout {name} has begun.")

        self._releasing = asyncio.create_task(run())

    async def _tell(
        self, wish: Wish, kind: str, status: Literal["True", "False", "Unknown"], reason: str, message: str
    ) -> None:
        told = condition(kind, message, status=status, reason=reason, generation=wish.generation, since=now_utc())
        if await self._store.note(wish.generation, told) and status == "False":
            self._announce(reason, message)


def policy_of(wish: Wish) -> Policy:
    """The declared policy, with the time that a gateway needs to follow."""
    declared = wish.declaration.spec.policy
    return replace(declared, settling_s=max(declared.settling_s, SETTLING_S))
