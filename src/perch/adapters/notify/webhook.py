"""Posts sentences to a webhook, from a thread of its own: whoever tells one never waits.

A sentence that the webhook does not take is posted again with growing pauses, for ten minutes; so one may arrive twice,
and late. The same sentence about the same thing is told once in ten minutes, however often it comes true.
"""

import logging
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from queue import Full, Queue
from threading import Event, Thread
from typing import Final, NamedTuple, Self

import httpx

from perch.adapters.notify.message import Address, message
from perch.errors import PlatformError

_TIMEOUT_S: Final = 10.0
_PATIENCE_S: Final = 600.0
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0
_MOST_WAITING: Final = 200
_MOST_REMEMBERED: Final = 1_000

_log = logging.getLogger(__name__)


class _Told(NamedTuple):
    sentence: str
    about: Mapping[str, str]
    time_s: float


class Webhook:
    """A webhook that is told of things while its block lasts; at the end it gets what waits, once."""

    def __init__(self, address: Address, clock: Callable[[], float] = time.time) -> None:
        """Make one.

        Args:
            address: Where sentences go.
            clock: Seconds since the epoch.
        """
        self._address, self._clock = address, clock
        self._waiting: Queue[_Told | None] = Queue(_MOST_WAITING)
        self._told_s: OrderedDict[tuple[str, tuple[tuple[str, str], ...]], float] = OrderedDict()
        self._ending = Event()
        self._thread = Thread(target=self._run, name="notify", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        try:
            self._waiting.put(None, timeout=_TIMEOUT_S)
        except Full:
            return
        self._thread.join(2 * _TIMEOUT_S)

    def tell(self, sentence: str, about: Mapping[str, str]) -> None:
        """Have a sentence told soon. Where too many wait it is dropped, and the log says so."""
        now_s, key = self._clock(), (sentence, tuple(sorted(about.items())))
        if now_s - self._told_s.get(key, float("-inf")) < _PATIENCE_S:
            return
        self._told_s[key] = now_s
        while len(self._told_s) > _MOST_REMEMBERED:
            self._told_s.popitem(last=False)
        try:
            self._waiting.put_nowait(_Told(sentence, about, now_s))
        except Full:
            _log.warning("Nobody is told %r: %d notifications wait for the webhook.", sentence, _MOST_WAITING)

    def _run(self) -> None:
        while (told := self._waiting.get()) is not None:
            self._deliver(told)

    def _deliver(self, told: _Told) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return post(self._address, told.sentence, told.about, self._clock())
            except PlatformError as error:
                if self._ending.is_set() or self._clock() - told.time_s > _PATIENCE_S:
                    return _log.warning("%s", error)
            self._ending.wait(pause_s * random.uniform(0.5, 1.5))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def post(address: Address, sentence: str, about: Mapping[str, str], now_s: float) -> None:
    """Post a sentence, once; raises `PlatformError` when the webhook does not take it."""
    body, headers = message(address, sentence, about, now_s)
    try:
        answer = httpx.post(address.url, content=body, headers=headers, timeout=_TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:  # neither is quoted: who knows the address may post, too
        raise PlatformError(f"Nobody was told {sentence!r}: the webhook fails with {type(error).__name__}.") from None
    if not answer.is_success:
        raise PlatformError(f"Nobody was told {sentence!r}: the webhook answers {answer.status_code}.")
