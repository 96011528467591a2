"""One ModelService object, run by the same loop as on one machine.

The object's `spec` is a wish: a version that differs from the champion asks for a rollout. It is tried once; what came
home stays home until the wish changes, or a person asks for a retry.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import msgspec

from perch.adapters.registry.port import UnknownVersionError
from perch.core.types import Action, Command
from perch.errors import PerchError, RolloutError
from perch.operator.reporting import ACCEPTED, READY, WATCHED, condition
from perch.operator.store import StatusStore, now_utc
from perch.operator.wish import REQUEST_ANNOTATION, Wish, policy_of
from perch.rollout.service import Service
from perch.settings.status import SERVING

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
    verb: Literal["pause", "resume", "promote", "rollback", "retry", "retrain"]
    override: bool = False


class Parts(Protocol):
    """What a hosted service is made of; the operator makes it, a test may."""

    service: Service
    store: StatusStore

    async def adopt(self, *, renew: bool) -> None:
        """Take over what runs already; `renew`: for it to be brought up to date."""
        ...

    async def retreat(self, champion: int) -> None:
        """Send all traffic to the champion."""
        ...

    def mend(self) -> AsyncIterator[str]:
        """Bring back what somebody else changed or took away, a sentence for each."""
        ...

    def retrain(self, *, override: bool) -> None:
        """Ask for a run that trains anew; raises `RolloutError` when there is to be none now."""
        ...


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is to be told about a wish."""

    wish: Wish
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


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
        self._answer: _Answer | None = None
        self._wished: int | None = None
        self._tried: int | None = None
        self._retried: str | None = None
        self._insists = False
        self._misread: str | None = None
        self._not_before_s = 0.0

    async def open(self, wish: Wish, check: Callable[[], None]) -> None:
        """Bring up what ran when the service was last closed; raises as `check` and `Service.open` do, and tells it.

        In mid-rollout nothing is brought up to date: a version whose pods change is not the one that was compared. When
        a rollout cannot be gone on with, nobody watches its canary, so all traffic goes to the champion until it can.
        """
        try:
            check()
            await self._parts.adopt(renew=not self._is_told_to_roll)
            await self._service.open()
        except PerchError as error:
            await self._retreat()
            await self._tell(wish, READY, "False", "NotServing", str(error))
            await self._tell(wish, WATCHED, "False", "NotServing", "Nobody looks at it, for it cannot be brought up.")
            raise
        self._wished, self._tried = wish.declaration.spec.version, self._service.last_tried

    @property
    def _is_told_to_roll(self) -> bool:
        """Whether the status tells of a rollout in progress: beside the state, which may be what cannot be read."""
        return self._store.told.phase not in {None, SERVING}

    async def _retreat(self) -> None:
        champion = self._store.told.champion
        if self._is_told_to_roll and champion is not None:
            with contextlib.suppress(PerchError, OSError):  # what is told is why it had to be tried
                await self._parts.retreat(champion)

    async def step(self, wish: Wish, now_s: float) -> None:
        """Follow the wish and tick once. What a person got wrong is told in a condition, and stops nothing."""
        request = await self._follow_request(wish, now_s)
        self._follow_version(wish, now_s)
        decision = await self._service.tick(now_s)
        if decision is not None and (decision.action is not Action.HOLD or not self._service.rolling):
            otherwise = "WeightsChanged" if self._service.rolling else "Ended"
            self._announce(_REASONS.get(decision.action, otherwise), decision.sentence)
        await self._tell_answer()
        if self._service.serves:
            await self._tell(wish, READY, "True", "Serving", "The champion serves.")
        else:
            sentence = f"No pod of version {self._service.champion}, the champion, is ready."
            await self._tell(wish, READY, "False", "ChampionDown", sentence)
        if request is not None:  # only now: what is not recorded yet would be lost with the process
            await self._store.acknowledge(request)

    async def mend(self) -> None:
        """Bring back what somebody else changed or took away."""
        async for sentence in self._parts.mend():
            self._announce("Mended", sentence)

    async def refuse(self, wish: Wish, why: str) -> None:
        """Tell that the object says what cannot be meant; what it said before holds."""
        await self._tell(wish, ACCEPTED, "False", "Refused", why)

    async def tell_trouble(self, wish: Wish, trouble: str | None) -> None:
        """Tell whether the last tick failed, and why: meanwhile no canary gets more traffic, and nobody watches it."""
        if trouble is None:
            await self._tell(wish, WATCHED, "True", "Ticking", "Each second's counts are seen and acted on.")
        else:
            await self._tell(wish, WATCHED, "False", "TickFailed", trouble)

    async def close(self) -> None:
        """End a release that waits for its version, and wait for versions that are being stopped."""
        if self._releasing is not None:
            self._releasing.cancel()
            await asyncio.gather(self._releasing, return_exceptions=True)
        await self._service.close()

    def _follow_version(self, wish: Wish, now_s: float) -> None:
        version = wish.declaration.spec.version
        if version != self._wished:
            self._wished, self._tried, self._insists, self._not_before_s = version, None, False, 0.0
        if version is None or self.is_busy or version in {self._service.champion, self._tried}:
            return
        if now_s >= self._not_before_s:
            self._start(wish, version, now_s)

    async def _follow_request(self, wish: Wish, now_s: float) -> str | None:
        """Do what a person asks for; the id of a request that is new, and done as far as it can be now."""
        if wish.request is None:
            return None
        try:
            request = msgspec.json.decode(wish.request, type=_Request)
        except (msgspec.MsgspecError, RecursionError) as error:
            if wish.request != self._misread:
                self._misread = wish.request
                await self.refuse(wish, f"The annotation {REQUEST_ANNOTATION} holds no request: {error}.")
            return None
        if request.id == self._store.request:
            return None
        try:
            if request.verb == "retry":
                return await self._follow_retry(wish, request, now_s)
            if request.verb == "retrain":
                self._parts.retrain(override=request.override)
            else:
                self._service.command(_COMMANDS[request.verb])
            await self._tell(wish, ACCEPTED, "True", "Requested", f"A person asked for it: {request.verb}.")
        except RolloutError as error:
            await self.refuse(wish, str(error))
        return request.id

    async def _follow_retry(self, wish: Wish, request: _Request, now_s: float) -> str | None:
        """Release the wanted version again; the request is done when its rollout is recorded, or refused.

        Raises:
            RolloutError: there is nothing to retry.
        """
        version = wish.declaration.spec.version
        if self._retried == request.id:
            return None if self._is_releasing else request.id
        if version is None:
            raise RolloutError("The object wants no version, so there is nothing to retry. Set spec.version.")
        if self.is_busy:
            if self._service.rolling and self._service.last_tried == version and self._retried is None:
                return request.id  # it was begun by an operator that ended before it could say so
            raise RolloutError("A rollout is in progress already, so there is nothing to retry.")
        self._retried, self._insists = request.id, request.override
        self._wished = version  # a version that is wished for in the same breath is tried once
        self._start(wish, version, now_s)
        await self._tell(wish, ACCEPTED, "Unknown", "Releasing", f"Version {version} is asked for again.")
        return None

    @property
    def is_busy(self) -> bool:
        """A rollout is in progress, or about to begin."""
        return self._service.rolling or self._is_releasing

    @property
    def _is_releasing(self) -> bool:
        return self._releasing is not None and not self._releasing.done()

    def _start(self, wish: Wish, version: int, now_s: float) -> None:
        """Release beside the ticks: until a version is warm, the others go on.

        What admission refuses is refused until the wish changes. What failed around it is tried again.
        """

        async def run() -> None:
            self._tried = version
            try:
                name = await self._service.release(version, policy_of(wish), now_s, override=self._insists)
            except (RolloutError, UnknownVersionError) as error:
                self._answer = _Answer(wish, "False", "Refused", str(error))
            except Exception as error:  # noqa: BLE001  whatever it was, it is told, and tried again
                told = str(error) if isinstance(error, (PerchError, OSError)) else f"A fault of Perch's: {error!r}."
                self._tried, self._not_before_s = None, now_s + _RETRY_S
                self._answer = _Answer(wish, "False", "TryingAgain", told)
            else:
                self._answer = _Answer(wish, "True", "Released", f"Rollout {name} has begun.")
                self._announce("Released", f"Rollout {name} has begun.")

        self._releasing = asyncio.create_task(run())

    async def _tell_answer(self) -> None:
        """Tell what became of a release; when that fails, it is told after the next tick."""
        answer = self._answer
        if answer is not None:
            await self._tell(answer.wish, ACCEPTED, answer.status, answer.reason, answer.message)
            self._answer = None

    async def _tell(
        self, wish: Wish, kind: str, status: Literal["True", "False", "Unknown"], reason: str, message: str
    ) -> None:
        told = condition(kind, message, status=status, reason=reason, generation=wish.generation, since=now_utc())
        if await self._store.note(wish.generation, told) and status == "False":
            self._announce(reason, message)
