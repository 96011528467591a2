"""The collector's ASGI application.

A request is acknowledged after its commit, never before. The database works in a thread of its own, so that a slow disk
does not stop the loop.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from typing import Annotated, Final, TypeAlias, TypeVar
from urllib.parse import parse_qsl

import msgspec

from perch import asgi
from perch.adapters.events.engine import StoreError, StoreFullError
from perch.adapters.events.parking import Parked
from perch.adapters.events.people import Attribute
from perch.adapters.events.reading import Span
from perch.adapters.events.store import EventStore
from perch.asgi import Disconnected, Headers, Receive, Refusal, Scope, Send
from perch.collector.fairness import LOOK_INTERVAL_S, GapWatch
from perch.collector.gathering import Gathering
from perch.collector.intake import NUL, UNREADABLE, Intake, readable
from perch.collector.limit import Limit, TooManyError
from perch.collector.page import render
from perch.signals import exposition
from perch.signals.events import Outcome, Prediction, TimeS, UserId
from perch.signals.inspection import Inspection
from perch.signals.judging import Judged
from perch.signals.labels import Comparison, Cursor

BODY_LIMIT_BYTES: Final = 8_000_000

IN_FLIGHT_LIMIT: Final = 64
"""Requests worked on at a time; more would only wait, and each may hold a body in memory."""

_TIDY_INTERVAL_S: Final = 1.0

_log = logging.getLogger(__name__)

_T = TypeVar("_T")
_Answer: TypeAlias = tuple[bytes, bytes]
_Handler: TypeAlias = Callable[[bytes], Awaitable[_Answer]]
"""Takes the body of a POST or the query of a GET."""

_TimeS: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e12)]  # no infinity, no NaN


class _LabelsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters of `GET /v1/labels`: a comparison and a cursor."""

    stable: str
    canary: str
    since_s: _TimeS
    clicks: int = 0
    paired_s: _TimeS = 0.0
    judged: bool = False
    judged_s: _TimeS = 0.0


class _MaturedQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters of `GET /v1/matured`."""

    version: str
    since_s: _TimeS


class _SampleQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters of `GET /v1/sample`."""

    version: str
    from_s: _TimeS
    until_s: _TimeS


class _SinceQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters of `GET /v1/earnings` and `GET /v1/fairness`."""

    since_s: _TimeS


class _Export(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /v1/exports`."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]
    since_s: TimeS
    until_s: TimeS


class _Forget(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /v1/forget`."""

    user: UserId


_judged = msgspec.json.Decoder(Judged)
_inspection = msgspec.json.Decoder(Inspection)
_attributes = msgspec.json.Decoder(list[Attribute])
_export = msgspec.json.Decoder(_Export)
_forget = msgspec.json.Decoder(_Forget)

_CONTROL: Final = ("/v1/events", "/v1/earnings", "/v1/fairness", "/v1/exports", "/v1/forget")
_JUDGING: Final = ("/v1/window", "/v1/judgements", "/v1/sample", "/v1/inspections")
_JUDGED_FOR_S: Final = 60.0  # after a rollout was last asked about
_CLOSED: Final = ""  # no token has this digest


class Collector:
    """The ASGI application over one store.

    `POST /v1/predictions` and `POST /v1/outcomes` take JSON lists and need a token each: who shows the winners and
    knows the clicks is not who may say what was predicted. `GET /v1/labels` needs that of predictions, or one of its
    own, and so does `GET /v1/matured`. What a person asks, `GET /v1/events`, `GET /v1/earnings`, `GET /v1/fairness`,
    `POST /v1/exports` and `POST /v1/forget`, needs the control token; `POST /v1/attributes`, of sensitive attributes,
    one of its own; and so do `GET /v1/window`, `POST /v1/judgements`, `GET /v1/sample` and `POST /v1/inspections`, of
    the external judge, which sees inputs and can bring a canary home.
    `GET /v1/summary`, `/metrics` and `/healthz` only read counts and need none.
    """

    def __init__(
        self,
        store: EventStore,
        token: str,
        feedback_token: str,
        labels_digest: str | None = None,
        *,
        control_token: str | None = None,
        attributes_token: str | None = None,
        judge_token: str | None = None,
        limit: Limit | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Put the application together.

        Args:
            store: Where events are kept.
            token: The bearer token of predictions.
            feedback_token: The bearer token of outcomes.
            labels_digest: Digest of the bearer token of labels, see `asgi.digest`; `None`: it is that of predictions.
            control_token: The bearer token of what a person asks; `None`: nobody may.
            attributes_token: The bearer token of sensitive attributes; `None`: they are not taken.
            judge_token: The bearer token of the external judge; `None`: there is none.
            limit: What each client may send.
            clock: Seconds since the epoch, by which the times of events are judged.
        """
        self._store = store
        self._limit = limit or Limit()
        self._clock = clock
        self._predictions = Intake(Prediction, store.retention_s)
        self._outcomes = Intake(Outcome, store.retention_s)
        self._digests = {
            "/v1/predictions": asgi.digest(token),
            "/v1/outcomes": asgi.digest(feedback_token),
            **dict.fromkeys(("/v1/labels", "/v1/matured"), labels_digest or asgi.digest(token)),
            **dict.fromkeys(_CONTROL, asgi.digest(control_token) if control_token else _CLOSED),
            "/v1/attributes": asgi.digest(attributes_token) if attributes_token else _CLOSED,
            **dict.fromkeys(_JUDGING, asgi.digest(judge_token) if judge_token else _CLOSED),
        }
        self._gap_watch = GapWatch(store, clock)
        self._judging: tuple[float, Comparison] | None = None
        self._thread = ThreadPoolExecutor(1, "events")
        self._told_predictions = Gathering(store.add_predictions, self._in_thread)
        self._told_outcomes = Gathering(store.add_outcomes, self._in_thread)
        self._in_flight = 0
        self._routes: dict[tuple[str, str], _Handler] = {
            ("POST", "/v1/predictions"): self._add_predictions,
            ("POST", "/v1/outcomes"): self._add_outcomes,
            ("GET", "/v1/labels"): self._labels,
            ("GET", "/v1/matured"): self._matured,
            ("GET", "/v1/earnings"): self._earnings,
            ("GET", "/v1/fairness"): self._fairness,
            ("POST", "/v1/attributes"): self._add_attributes,
            ("GET", "/v1/events"): self._events,
            ("POST", "/v1/exports"): self._note_export,
            ("POST", "/v1/forget"): self._forget,
            ("GET", "/v1/window"): self._window,
            ("POST", "/v1/judgements"): self._add_judgement,
            ("GET", "/v1/sample"): self._sample,
            ("POST", "/v1/inspections"): self._keep_inspection,
            ("GET", "/v1/summary"): self._summary,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/healthz"): self._healthy,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or follow the server's life."""
        if scope["type"] == "lifespan":
            return await self._live(receive, send)
        self._in_flight += 1
        try:
            body, content_type = await self._answer(scope, receive)
            return await asgi.reply(send, HTTPStatus.OK, body, content_type)
        except Refusal as refusal:
            return await _refuse(send, refusal.status, str(refusal))
        except TooManyError as error:
            return await _refuse(send, HTTPStatus.TOO_MANY_REQUESTS, str(error), error.retry_after_s)
        except StoreError as error:
            _log.error("%s", error)
            status = HTTPStatus.INSUFFICIENT_STORAGE if isinstance(error, StoreFullError) else _UNAVAILABLE
            return await _refuse(send, status, f"{error}, and kept nothing of this; send it again later.", 1)
        except Disconnected:
            return None
        finally:
            self._in_flight -= 1

    async def _answer(self, scope: Scope, receive: Receive) -> _Answer:
        handler = self._routes.get((scope["method"], scope["path"]))
        if handler is None:
            known = ", ".join(" ".join(route) for route in self._routes)
            raise Refusal(404, f"There is no {scope['method']} {scope['path']} here; there are {known}.")
        headers: Headers = dict(scope["headers"])
        self._check_token(scope["path"], headers)
        if scope["method"] == "GET":
            return await handler(scope["query_string"])
        client = (scope["path"], (scope.get("client") or ("",))[0])
        self._limit.check(client)
        if self._in_flight > IN_FLIGHT_LIMIT:
            raise StoreError(f"{IN_FLIGHT_LIMIT} requests are in work already: the collector is behind")
        body = await asgi.read_body(receive, headers, BODY_LIMIT_BYTES)
        self._limit.charge(client, len(body))
        return await handler(body)

    def _check_token(self, path: str, headers: Headers) -> None:
        digest = self._digests.get(path)
        if digest == _CLOSED:
            raise Refusal(403, f"{path} is closed: this collector was started without a token for it.")
        if digest is not None:
            asgi.require_digest(headers, digest)

    # --- routes ---

    async def _add_predictions(self, body: bytes) -> _Answer:
        taken = self._predictions.read(body, self._clock())
        await self._told_predictions.add(taken.events, taken.parked)
        return _told(len(taken.events), taken.complaints)

    async def _add_outcomes(self, body: bytes) -> _Answer:
        try:
            taken = self._outcomes.read(body, self._clock())
        except Refusal:
            unreadable = [Parked("malformed", readable(body[:4_000]))]
            await self._told_outcomes.add([], unreadable)
            raise
        await self._told_outcomes.add(taken.events, taken.parked)
        return _told(len(taken.events), taken.complaints)

    async def _labels(self, query: bytes) -> _Answer:
        asked = _read_query(query, _LabelsQuery, "stable and canary (versions), since_s, clicks and paired_s")
        comparison = Comparison(asked.stable, asked.canary, asked.since_s, asked.judged)
        cursor = Cursor(asked.clicks, asked.paired_s, asked.judged_s)
        if asked.judged:
            self._judging = self._clock(), comparison
        return _json(await self._in_thread(lambda: self._store.labels_since(comparison, cursor)))

    async def _matured(self, query: bytes) -> _Answer:
        asked = _read_query(query, _MaturedQuery, "version and since_s")
        return _json(await self._in_thread(lambda: self._store.matured_since(asked.version, asked.since_s)))

    async def _earnings(self, query: bytes) -> _Answer:
        asked = _read_query(query, _SinceQuery, "since_s")
        return _json(await self._in_thread(lambda: self._store.earnings_since(asked.since_s)))

    async def _fairness(self, query: bytes) -> _Answer:
        asked = _read_query(query, _SinceQuery, "since_s")
        return _json(await self._in_thread(lambda: self._store.fairness_since(asked.since_s)))

    async def _add_attributes(self, body: bytes) -> _Answer:
        attributes = _read_body(body, _attributes, "a JSON list of attributes, each with user, name and value")
        await self._in_thread(lambda: self._store.keep_attributes(attributes))
        return _json({"accepted": len(attributes)})

    async def _events(self, query: bytes) -> _Answer:
        span = _read_query(query, Span, "since_s, until_s and after_id")
        return _json(await self._in_thread(lambda: self._store.kept(span)))

    async def _note_export(self, body: bytes) -> _Answer:
        export = _read_body(body, _export, "an object with name, since_s and until_s")
        await self._in_thread(lambda: self._store.note_export(export.name, export.since_s, export.until_s))
        return _json({})

    async def _forget(self, body: bytes) -> _Answer:
        asked = _read_body(body, _forget, "an object with the user")
        return _json(await self._in_thread(lambda: self._store.forget(asked.user)))

    async def _window(self, _: bytes) -> _Answer:
        """What is to be judged next of the rollout that is asked about now; `null`: nothing is."""
        asked_s, comparison = self._judging or (0.0, None)
        if comparison is None or self._clock() - asked_s > _JUDGED_FOR_S:
            return _json(None)
        return _json(await self._in_thread(lambda: self._store.window(comparison)))

    async def _add_judgement(self, body: bytes) -> _Answer:
        judged = _read_body(body, _judged, "an object with stable, canary, from_s, until_s, p_value and finding")
        return _json({"accepted": int(await self._in_thread(lambda: self._store.add_judgement(judged)))})

    async def _sample(self, query: bytes) -> _Answer:
        asked = _read_query(query, _SampleQuery, "version, from_s and until_s")
        return _json(await self._in_thread(lambda: self._store.sample(asked.version, asked.from_s, asked.until_s)))

    async def _keep_inspection(self, body: bytes) -> _Answer:
        found = _read_body(body, _inspection, "an object with model, version, made_s, requests, columns and features")
        await self._in_thread(lambda: self._store.keep_inspection(found))
        return _json({})

    async def _summary(self, _: bytes) -> _Answer:
        return _json(await self._in_thread(self._store.summary))

    async def _metrics(self, _: bytes) -> _Answer:
        page = await self._in_thread(lambda: render(self._store.summary(), self._gap_watch.gaps))
        return page, exposition.CONTENT_TYPE

    async def _healthy(self, _: bytes) -> _Answer:
        return b"{}", asgi.JSON

    # --- life ---

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        timers = [asyncio.create_task(self._tidy()), asyncio.create_task(self._look())]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for timer in timers:
            timer.cancel()
            with suppress(asyncio.CancelledError):
                await timer
        self._thread.shutdown()
        await send({"type": "lifespan.shutdown.complete"})

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(_TIDY_INTERVAL_S)
            try:
                while await self._in_thread(self._store.tidy):
                    pass  # in between come those who wait
            except StoreError as error:
                _log.error("%s, and tries again.", error)

    async def _look(self) -> None:
        while True:
            await self._in_thread(self._gap_watch.look)
            await asyncio.sleep(LOOK_INTERVAL_S)


_UNAVAILABLE: Final = HTTPStatus.SERVICE_UNAVAILABLE


async def _refuse(send: Send, status: int, sentence: str, retry_after_s: int | None = None) -> None:
    headers = [] if retry_after_s is None else [(b"retry-after", str(retry_after_s).encode())]
    await asgi.reply(send, status, msgspec.json.encode({"error": sentence}), headers=headers)


def _told(accepted: int, complaints: list[str]) -> _Answer:
    answer = {"accepted": accepted, "malformed": len(complaints), "errors": complaints[:10]}
    return msgspec.json.encode(answer), asgi.JSON


def _json(value: object) -> _Answer:
    return msgspec.json.encode(value), asgi.JSON


def _read_body(body: bytes, decoder: "msgspec.json.Decoder[_T]", takes: str) -> _T:
    """A body, of which nothing is quoted in the refusal: it may be sensitive."""
    try:
        value = decoder.decode(body)
    except UNREADABLE:
        value = None
    if value is None or NUL in body:
        raise Refusal(400, f"The body is not {takes}.")
    return value


def _read_query(query: bytes, kind: type[_T], takes: str) -> _T:
    try:
        parameters = dict(parse_qsl(query.decode(), keep_blank_values=True))
        return msgspec.convert(parameters, kind, strict=False)
    except (UnicodeDecodeError, msgspec.ValidationError) as error:
        raise Refusal(400, f"The query cannot be meant: {error}. It takes {takes}.") from None
