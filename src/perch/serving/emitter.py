"""Tells the collector what was predicted, without ever making a request wait.

Events go into a bounded buffer; when it is full they are dropped and counted. A batch that the collector did not
acknowledge is sent again: the collector ignores what it knows already, so nothing is counted twice. One that asks for
patience, since it is full or has had too much at once, is left alone for as long as it says.

What inputs added to a score is known a little after the answer. So an event is taken without it, before the answer, and
completed in the buffer: if the process is killed, attributions are lost, and no event.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import accumulate, islice
from typing import Self

import httpx
import msgspec
from msgspec.structs import replace

from perch.serving.attributing import Attributions
from perch.serving.journal import Journal
from perch.signals.events import Prediction

CAPACITY = 10_000
_BATCH = 500
_BATCH_BYTES = 4_000_000
"""Half of what the collector takes: events of wide models have several kilobytes each."""

_INTERVAL_S = 0.2
_ATTRIBUTIONS_TIMEOUT_S = 1.0
"""How long a batch waits for what is in work; the events go without it then. It takes some milliseconds."""

_TIMEOUT_S = 2.0
_LONGEST_PAUSE_S = 60.0

_log = logging.getLogger(__name__)


class _Event:
    """In the buffer."""

    __slots__ = ("attributions", "content")

    def __init__(self, content: bytes, attributions: Attributions | None = None) -> None:
        self.content = content
        self.attributions = attributions
        """In work; `None`: nothing is to come."""

    def complete(self, prediction: Prediction, attributions: Attributions) -> None:
        self.attributions = None
        if not attributions.cancelled() and attributions.exception() is None:
            self.content = msgspec.json.encode(replace(prediction, attributions=attributions.result()))


class Emitter:
    """Sends predictions in the background while its block lasts; what is left at the end gets one more attempt."""

    def __init__(
        self,
        collector: str,
        token: str,
        dropped: Callable[[int], None],
        capacity: int = CAPACITY,
        journal: Journal | None = None,
    ) -> None:
        """Make an emitter.

        Args:
            collector: The collector's base URL.
            token: Its bearer token.
            dropped: Told the number of events that were given up.
            capacity: Events kept while the collector does not answer.
            journal: Keeps them on disk, too; `None`: what is not sent when the process is killed is lost.
        """
        self._client = httpx.AsyncClient(
            base_url=collector, timeout=_TIMEOUT_S, headers={"authorization": f"Bearer {token}"}, trust_env=False
        )
        self._dropped = dropped
        self._capacity = capacity
        self._journal = journal
        self._buffer = deque(map(_Event, journal.left_behind() if journal else ()))
        self._pause_s = 0.0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        while self._buffer and await self._send():
            pass
        await self._client.aclose()
        if self._journal:
            self._journal.close()

    def offer(self, prediction: Prediction, attributions: Attributions | None = None) -> None:
        """Take an event, or drop it when the buffer is full. Costs a few microseconds, most of them the journal's.

        Args:
            prediction: The event.
            attributions: What is added to it when it is known.
        """
        if len(self._buffer) >= self._capacity:
            self._dropped(1)
            return
        event = _Event(msgspec.json.encode(prediction), attributions)
        if self._journal:
            self._write_down(event.content)
        self._buffer.append(event)
        if attributions is not None:
            attributions.add_done_callback(partial(event.complete, prediction))

    def _write_down(self, event: bytes) -> None:
        assert self._journal is not None, "asked by who has one"
        try:
            self._journal.add(event)
        except OSError as error:
            _log.error("Events are not kept on disk any more (%s): if this process is killed, some are lost.", error)
            self._journal = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(max(_INTERVAL_S, self._pause_s))
            self._pause_s = 0.0
            while self._buffer and await self._send():
                pass

    async def _batch(self) -> list[bytes]:
        """The oldest events, as many as go into one request, one in any case; with their attributions where in time."""
        oldest = list(islice(self._buffer, _BATCH))
        in_work = [event.attributions for event in oldest if event.attributions is not None]
        if in_work:
            _, late = await asyncio.wait(in_work, timeout=_ATTRIBUTIONS_TIMEOUT_S)
            for attributions in late:
                attributions.cancel()
        contents = [event.content for event in oldest]
        count = sum(size <= _BATCH_BYTES for size in accumulate(len(content) + 1 for content in contents))
        return contents[: max(count, 1)]

    async def _send(self) -> bool:
        """Send the oldest events; they leave the buffer when the collector has them, or refuses them for good."""
        batch = await self._batch()
        try:
            response = await self._client.post("/v1/predictions", content=b"[" + b",".join(batch) + b"]")
        except httpx.HTTPError:
            return False
        if response.status_code >= 500 or response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            self._pause_s = _patience_s(response)
            return False
        if response.status_code != 200:
            self._dropped(len(batch))
        for _ in batch:
            self._buffer.popleft()
        if self._journal:
            self._journal.acknowledge(len(batch))
        return True


def _patience_s(response: httpx.Response) -> float:
    """For how long the collector wants to be left alone, in seconds, as far as it says so in seconds."""
    asked = response.headers.get("retry-after", "")
    return min(float(asked), _LONGEST_PAUSE_S) if asked.isdecimal() else 0.0
