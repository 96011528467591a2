"""The simulated market as a client of the route: it asks, shows the winner, and clicks later, or not.

Requests leave at a constant rate whatever the answers do, and each is counted by what came back. A request is lost
when no version answered it: no connection, no answer in time, or an error that the proxy made up itself. Each client
gives its requests ids of its own, so that a second one does not repeat those of the first.
"""

import asyncio
import contextlib
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import msgspec

from perch.signals.names import REQUEST_ID_HEADER, VERSION_HEADER
from perch.world.market import Market
from perch.world.requests import SlateRequest

_TIMEOUT_S = 5.0
_CHUNK = 50
_FEEDBACK_S = 0.5


class _Ranking(msgspec.Struct):
    order: list[int]


_ranking = msgspec.json.Decoder(_Ranking)


def _winner(content: bytes) -> int | None:
    """The candidate that is shown; `None` when the answer is no ranking."""
    try:
        return _ranking.decode(content).order[0]
    except (msgspec.MsgspecError, IndexError):
        return None


@dataclass(slots=True)
class Answers:
    """What one version answered."""

    requests: int = 0
    failed: int = 0
    slow: int = 0
    latency_ms: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Tally:
    """What the client saw in a stretch of time."""

    sent: int = 0
    lost: int = 0
    versions: defaultdict[int, Answers] = field(default_factory=lambda: defaultdict(Answers))

    waiting: set[asyncio.Task[None]] = field(default_factory=set)

    async def settled(self) -> None:
        """Wait until every request of this tally has been answered or lost; the next one has begun before."""
        await asyncio.gather(*self.waiting)


class Traffic:
    """Live traffic on a route, at `rps` requests a second."""

    def __init__(
        self,
        market: Market,
        route_url: str,
        feedback_token: str | None,
        *,
        rps: float,
        slo_latency_ms: float,
        host: str | None = None,
    ) -> None:
        """Make traffic; `flowing` lets it flow.

        Args:
            market: Makes the requests, and clicks on what is shown.
            route_url: Where they go.
            feedback_token: Opens the route for clicks; `None`: nobody takes them, so none are sent.
            rps: Requests a second.
            slo_latency_ms: Above this an answer is slow.
            host: Host that the requests name, where the URL has another one.
        """
        self._market = market
        self._route_url = route_url
        self._feedback_token = feedback_token
        self._interval_s = 1 / rps
        self._slo_latency_ms = slo_latency_ms
        self._headers = {} if host is None else {"host": host}
        self._flowing = False
        self._clicks: list[tuple[float, dict[str, object]]] = []
        self._tallies = [Tally()]
        self._client = secrets.token_hex(4)
        self.clicks_sent = 0

    @property
    def tally(self) -> Tally:
        """What is counted in now."""
        return self._tallies[-1]

    @property
    def sent(self) -> int:
        """Requests sent so far."""
        return sum(tally.sent for tally in self._tallies)

    @property
    def lost(self) -> int:
        """Of those, the ones that no version answered."""
        return sum(tally.lost for tally in self._tallies)

    def start_tally(self) -> Tally:
        """Count afresh from now on; returns the new tally."""
        self._tallies.append(Tally())
        return self.tally

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Let the traffic flow; at the end, wait for open requests and send the clicks that are still to come."""
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector, headers=self._headers) as session:
            self._flowing = True
            asking = asyncio.create_task(self._ask_forever(session))
            clicking = asyncio.create_task(self._click_forever(session))
            try:
                yield
                self._flowing = False
                await asking
            finally:
                for task in (asking, clicking):
                    task.cancel()
                await asyncio.gather(asking, clicking, return_exceptions=True)
            await self._send_clicks(session, due_s=float("inf"))

    async def _ask_forever(self, session: aiohttp.ClientSession) -> None:
        due = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            while self._flowing:
                for request in self._market.requests(_CHUNK):
                    due = max(due + self._interval_s, time.perf_counter() - 1.0)
                    await asyncio.sleep(due - time.perf_counter())
                    tally = self.tally
                    task = group.create_task(self._ask(session, request, tally))
                    tally.sent += 1
                    tally.waiting.add(task)
                    task.add_done_callback(tally.waiting.discard)

    async def _ask(self, session: aiohttp.ClientSession, request: SlateRequest, tally: Tally) -> None:
        request_id = f"{self._client}-{request.request_id}"
        headers = {REQUEST_ID_HEADER: request_id, "content-type": "application/json"}
        sent = time.perf_counter()
        try:
            async with session.post(f"{self._route_url}/rank", data=request.body(), headers=headers) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            tally.lost += 1
            return
        version = answer.headers.get(VERSION_HEADER)
        if version is None:
            tally.lost += 1
            return
        latency_ms = 1_000 * (time.perf_counter() - sent)
        answers = tally.versions[int(version)]
        answers.requests += 1
        answers.latency_ms.append(latency_ms)
        winner = _winner(content) if answer.ok else None
        if winner is None:
            answers.failed += 1
            return
        answers.slow += latency_ms > self._slo_latency_ms
        if self._feedback_token is None:
            return
        click = self._market.click(request, winner)
        if click.clicked:
            when_s = time.time() + click.delay_s
            known_as = answer.headers.get(REQUEST_ID_HEADER, request_id)  # a gateway may give ids of its own
            outcome = {"request_id": known_as, "label": 1, "time_s": when_s, "value": click.value}
            self._clicks.append((when_s, outcome))

    async def _click_forever(self, session: aiohttp.ClientSession) -> None:
        while True:
            await asyncio.sleep(_FEEDBACK_S)
            await self._send_clicks(session, due_s=time.time())

    async def _send_clicks(self, session: aiohttp.ClientSession, due_s: float) -> None:
        due = [outcome for when_s, outcome in self._clicks if when_s <= due_s]
        if not due:
            return
        headers = {"authorization": f"Bearer {self._feedback_token}"}
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):  # sent again next time
            async with session.post(f"{self._route_url}/feedback", json=due, headers=headers) as answer:
                if answer.ok:
                    self._clicks = [click for click in self._clicks if click[0] > due_s]
                    self.clicks_sent += len(due)
