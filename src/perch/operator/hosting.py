"""The task that runs one object: each second a step of the loop, and whatever fails, the next one comes.

What moves traffic comes first in each turn; what tells, or brings back what others took away, must not keep it waiting.
"""

import asyncio
import contextlib
import logging
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Final

import kopf

from perch.errors import PerchError, PlatformError
from perch.freshness.watch import LOOK_S
from perch.operator.assembly import Operator, Parts
from perch.operator.claims import Claim, check_first
from perch.operator.hosted import Hosted
from perch.operator.reporting import is_ready
from perch.operator.store import StatusStore, SupersededError
from perch.operator.wish import Wish, fixed_of, owner_of, wish_of

TICK_S: Final = 1.0

_GOOD_NEWS: Final = {"Released", "WeightsChanged", "Promoted", "Ended"}

_log = logging.getLogger(__name__)


async def host(
    operator: Operator,
    body: kopf.Body,
    namespace: str,
    stopped: kopf.DaemonStopped,
    claims: Mapping[str, Iterable[Claim]],
) -> None:
    """Run one service until the object goes, the lease is lost, or what is fixed at the start changes.

    What is fixed waits for the end of a rollout in progress, and so does bringing the versions up to date.

    Args:
        operator: What all services share.
        body: The object, as it is at each moment.
        namespace: Of the object.
        stopped: Whether the object has gone.
        claims: Of all services, by their model.

    Raises:
        PerchError: the service cannot be brought up, or somebody else wrote its status.
    """
    wish = wish_of(body)
    name, made_with = wish.declaration.name, fixed_of(wish)
    parts = operator.parts(wish.declaration, namespace, owner_of(body))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(parts.close)
        operator.meters.begin(namespace, name, made_with.slo)
        await _check_unclaimed(operator, parts.store, name)
        hosted = Hosted(parts, _announcer(body))
        model = wish.declaration.spec.model
        await hosted.open(wish, lambda: check_first(claims.get(model, ()), model, namespace, name))
        stack.push_async_callback(hosted.close)
        await stack.enter_async_context(_watched(operator, parts, (namespace, name)))
        turns = _Turns(operator, parts, hosted, (namespace, name))
        stack.push_async_callback(turns.close)
        is_outdated = hosted.is_busy
        due = time.monotonic()
        while not stopped and operator.lease.held:
            unmeant = None
            try:
                wish = wish_of(body)
            except PerchError as error:
                unmeant = error
            is_outdated = is_outdated or fixed_of(wish) != made_with
            if is_outdated and not hosted.is_busy:
                return
            parts.freshness.follow(wish.declaration.spec.training.freshness)
            await turns.take(wish, unmeant)
            due = max(due + TICK_S, time.monotonic())
            await stopped.wait(due - time.monotonic())


@contextlib.asynccontextmanager
async def _watched(operator: Operator, parts: Parts, key: tuple[str, str]) -> AsyncIterator[None]:
    """Watch over model and inputs, beside the turns; of many services, each at another second of the minute."""
    await parts.freshness.open()
    await parts.drift.open()
    after_s = zlib.crc32("/".join(key).encode()) % LOOK_S
    keeping = [asyncio.create_task(watch.keep(after_s)) for watch in (parts.freshness, parts.drift)]
    operator.watches[key] = parts.freshness
    try:
        yield
    finally:
        del operator.watches[key]
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)


class _Turns:
    """What is done for one service each second."""

    def __init__(self, operator: Operator, parts: Parts, hosted: Hosted, key: tuple[str, str]) -> None:
        self._meters = operator.meters
        self._parts = parts
        self._hosted = hosted
        self._key = key
        self._say = operator.say_of(*key)
        self._mending: asyncio.Task[str | None] | None = None

    async def close(self) -> None:
        """End what is still being brought back."""
        if self._mending is not None:
            self._mending.cancel()
            await asyncio.gather(self._mending, return_exceptions=True)

    async def take(self, wish: Wish, unmeant: PerchError | None) -> None:
        """Step, and then what can wait; nothing of it keeps the rest from being done."""
        now_s = time.time()
        with self._meters.tick():
            trouble = await self._try("A tick failed", self._hosted.step(wish, now_s))
        await self._try("This could not be told", self._hosted.tell_trouble(wish, trouble))
        if unmeant is not None:
            await self._try("A refusal could not be told", self._hosted.refuse(wish, str(unmeant)))
        if self._mending is None or self._mending.done():  # beside the turns, for it may have to ask the registry
            mending = self._try("What somebody else took away was not made again", self._hosted.mend())
            self._mending = asyncio.create_task(mending)
        service = self._parts.service
        told = self._parts.store.told
        self._meters.tell(
            *self._key,
            ready=is_ready(told),
            phase=told.phase,
            outcome=told.outcome,
            canary_weight=service.weights.canary,
            e_value=service.e_value,
        )
        policy = wish.declaration.spec.training.freshness
        self._meters.tell_age(*self._key, self._parts.freshness.remembered.state, policy, now_s)
        if trouble is None:
            self._meters.tell_ticked(*self._key, now_s)

    async def _try(self, failing: str, deed: Awaitable[None]) -> str | None:
        """Do it; why it failed."""
        try:
            await deed
        except SupersededError:
            raise
        except (PerchError, OSError) as error:
            told = f"{failing}, and the next one tries again. {error}"
        except Exception as error:  # noqa: BLE001  the next turn must come whatever happens in this one
            _log.exception("What follows is a fault of Perch's.")
            told = f"{failing}, which is a fault of Perch's: {error!r}."
        else:
            return None
        self._say(told)
        return told


def _announcer(body: kopf.Body) -> Callable[[str, str], None]:
    def announce(reason: str, sentence: str) -> None:
        kind = "Normal" if reason in _GOOD_NEWS else "Warning"
        kopf.event(body, type=kind, reason=reason, message=sentence)

    return announce


async def _check_unclaimed(operator: Operator, store: StatusStore, name: str) -> None:
    """Raise `PlatformError` while the Perch of another namespace runs the service."""
    other = await store.claimant()
    if other not in {None, operator.options.namespace} and await operator.lease.is_kept(other):
        raise PlatformError(
            f"ModelService {name} is run by the Perch in namespace {other}. Uninstall one of the two, or give each"
            " namespaces of its own with operator.watch."
        )
