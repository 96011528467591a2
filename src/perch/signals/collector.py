"""The endpoint that takes predictions from serving and outcomes from the world: `python -m perch.signals.collector`.

A request is acknowledged after its commit, never before. SQLite works in a thread of its own, so that a slow disk
does not stop the loop.
"""

import argparse
import asyncio
import logging
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar
from urllib.parse import parse_qsl

import msgspec

from perch import asgi
from perch.asgi import Disconnected, Headers, Receive, Refusal, Scope, Send
from perch.errors import PerchError
from perch.signals import exposition, names
from perch.signals.events import Outcome, Prediction
from perch.signals.labels import Comparison, Cursor
from perch.signals.outcomes import OutcomeStore, Summary

BODY_LIMIT_BYTES = 8_000_000

_log = logging.getLogger(__name__)

_T = TypeVar("_T")
_Handler: TypeAlias = Callable[[bytes], Awaitable[tuple[bytes, bytes]]]
"""Takes the body of a POST or the query of a GET."""

_TimeS: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e12)]  # no infinity, no NaN

_predictions = msgspec.json.Decoder(list[Prediction])
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_raw_list = msgspec.json.Decoder(list[msgspec.Raw])
_outcome = msgspec.json.Decoder(Outcome)


class _LabelsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters of `GET /v1/labels`: a comparison and a cursor."""

    stable: str
    canary: str
    since_s: _TimeS
    clicks: int = 0
    paired_s: _TimeS = 0.0


class _MaturedQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters of `GET /v1/matured`."""

    version: str
    since_s: _TimeS


class Collector:
    """The ASGI application over one store.

    `POST /v1/predictions` and `POST /v1/outcomes` take JSON lists and need a token each: who shows the winners and
    knows the clicks is not who may say what was predicted. `GET /v1/labels` needs that of predictions, or one of its
    own, and so does `GET /v1/matured`. `GET /v1/summary`, `/metrics` and `/healthz` only read counts and need none.
    """

    def __init__(self, store: OutcomeStore, token: str, feedback_token: str, labels_digest: str | None = None) -> None:
        """Put the application together.

        Args:
            store: Where predictions and outcomes are kept.
            token: The bearer token of predictions.
            feedback_token: The bearer token of outcomes.
            labels_digest: Digest of the bearer token of labels, see `asgi.digest`; `None`: it is that of predictions.
        """
        self._store = store
        self._digests = {
            "/v1/predictions": asgi.digest(token),
            "/v1/outcomes": asgi.digest(feedback_token),
            **dict.fromkeys(("/v1/labels", "/v1/matured"), labels_digest or asgi.digest(token)),
        }
        self._thread = ThreadPoolExecutor(1, "outcomes")
        self._routes: dict[tuple[str, str], _Handler] = {
            ("POST", "/v1/predictions"): self._add_predictions,
            ("POST", "/v1/outcomes"): self._add_outcomes,
            ("GET", "/v1/labels"): self._labels,
            ("GET", "/v1/matured"): self._matured,
            ("GET", "/v1/summary"): self._summary,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/healthz"): self._healthy,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or follow the server's life."""
        if scope["type"] == "lifespan":
            return await self._live(receive, send)
        try:
            body, content_type = await self._answer(scope, receive)
            return await asgi.reply(send, 200, body, content_type)
        except Refusal as refusal:
            return await asgi.reply(send, refusal.status, msgspec.json.encode({"error": str(refusal)}))
        except sqlite3.Error as error:
            _log.error("The outcome store failed: %s", error)
            sentence = f"The outcome store failed ({error}) and kept nothing of this; send it again later."
            return await asgi.reply(send, HTTPStatus.SERVICE_UNAVAILABLE, msgspec.json.encode({"error": sentence}))
        except Disconnected:
            return None

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[bytes, bytes]:
        handler = self._routes.get((scope["method"], scope["path"]))
        if handler is None:
            known = ", ".join(" ".join(route) for route in self._routes)
            raise Refusal(404, f"There is no {scope['method']} {scope['path']} here; there are {known}.")
        headers: Headers = dict(scope["headers"])
        if digest := self._digests.get(scope["path"]):
            asgi.require_digest(headers, digest)
        body = await asgi.read_body(receive, headers, BODY_LIMIT_BYTES)
        return await handler(body if scope["method"] == "POST" else scope["query_string"])

    async def _add_predictions(self, body: bytes) -> tuple[bytes, bytes]:
        try:
            batch = _predictions.decode(body)
        except _UNREADABLE as error:
            raise Refusal(400, f"The body is no JSON list of predictions: {error}.") from None
        await self._in_thread(lambda: self._store.add_predictions(batch))
        return msgspec.json.encode({"accepted": len(batch)}), asgi.JSON

    async def _add_outcomes(self, body: bytes) -> tuple[bytes, bytes]:
        try:
            items = _raw_list.decode(body)
        except _UNREADABLE as error:
            await self._in_thread(lambda: self._store.add_outcomes([], malformed=1))
            raise Refusal(400, f"The body is no JSON list of outcomes: {error}.") from None
        outcomes, complaints = _read_outcomes(items)
        await self._in_thread(lambda: self._store.add_outcomes(outcomes, malformed=len(complaints)))
        answer = {"accepted": len(outcomes), "malformed": len(complaints), "errors": complaints[:10]}
        return msgspec.json.encode(answer), asgi.JSON

    async def _labels(self, query: bytes) -> tuple[bytes, bytes]:
        asked = _read_query(query, _LabelsQuery, "stable and canary (versions), since_s, clicks and paired_s")
        comparison = Comparison(asked.stable, asked.canary, asked.since_s)
        cursor = Cursor(asked.clicks, asked.paired_s)
        known = await self._in_thread(lambda: self._store.labels_since(comparison, cursor))
        return msgspec.json.encode(known), asgi.JSON

    async def _matured(self, query: bytes) -> tuple[bytes, bytes]:
        asked = _read_query(query, _MaturedQuery, "version and since_s")
        known = await self._in_thread(lambda: self._store.matured_since(asked.version, asked.since_s))
        return msgspec.json.encode(known), asgi.JSON

    async def _summary(self, _: bytes) -> tuple[bytes, bytes]:
        return msgspec.json.encode(await self._in_thread(self._store.summary)), asgi.JSON

    async def _metrics(self, _: bytes) -> tuple[bytes, bytes]:
        return render(await self._in_thread(self._store.summary)), exposition.CONTENT_TYPE

    async def _healthy(self, _: bytes) -> tuple[bytes, bytes]:
        return b"{}", asgi.JSON

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._thread.shutdown()
        await send({"type": "lifespan.shutdown.complete"})


def _read_outcomes(items: list[msgspec.Raw]) -> tuple[list[Outcome], list[str]]:
    outcomes, complaints = [], []
    for number, item in enumerate(items):
        try:
            outcomes.append(_outcome.decode(item))
        except _UNREADABLE as error:
            complaints.append(f"Outcome {number}: {error}.")
    return outcomes, complaints


def _read_query(query: bytes, kind: type[_T], takes: str) -> _T:
    try:
        parameters = dict(parse_qsl(query.decode(), keep_blank_values=True))
        return msgspec.convert(parameters, kind, strict=False)
    except (UnicodeDecodeError, msgspec.ValidationError) as error:
        raise Refusal(400, f"The query asks for no labels: {error}. It takes {takes}.") from None


def render(summary: Summary) -> bytes:
    """A summary as Prometheus' text: `OUTCOME_JOINS`, `CLICKS` and `OUTCOMES_PENDING`."""
    joins = exposition.header(f"{names.OUTCOME_JOINS}_total", "counter", "Outcomes by what became of them.")
    clicks = exposition.header(f"{names.CLICKS}_total", "counter", "Outcomes that were clicks and joined.")
    for tally in summary.tallies:
        of = exposition.labels(model=tally.model, version=tally.version, arm=tally.arm)
        joins.append(f'{names.OUTCOME_JOINS}_total{{{of},result="{tally.result}"}} {tally.outcomes}')
        if tally.result == "joined":
            clicks.append(f"{names.CLICKS}_total{{{of}}} {tally.clicks}")
    pending = exposition.header(names.OUTCOMES_PENDING, "gauge", "Outcomes that wait for their prediction.")
    return exposition.document([*joins, *clicks, *pending, f"{names.OUTCOMES_PENDING} {summary.pending}"])


def main(arguments: list[str] | None = None) -> None:
    """Run the collector until SIGTERM.

    Raises:
        PerchError: the store, the token file or the port cannot be used.
    """
    parser = argparse.ArgumentParser(
        prog="python -m perch.signals.collector", description="Joins outcomes to predictions."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--store", type=Path, required=True, help="SQLite file; made when it is not there")
    parser.add_argument(
        "--token-file", type=Path, required=True, help="file with the bearer token of predictions and labels"
    )
    parser.add_argument("--feedback-token-file", type=Path, required=True, help="file with that of outcomes")
    parser.add_argument("--labels-token-sha256", help="digest of the token of labels, where that is another one")
    parser.add_argument(
        "--attribution-window-s", type=float, required=True, help="longest time to an outcome that counts"
    )
    options = parser.parse_args(arguments)
    token, feedback_token = asgi.read_token(options.token_file), asgi.read_token(options.feedback_token_file)
    with OutcomeStore(options.store, options.attribution_window_s) as store:
        app = Collector(store, token, feedback_token, options.labels_token_sha256)
        asgi.run(app, options.host, options.port, name="The collector")


if __name__ == "__main__":
    try:
        main()
    except PerchError as problem:
        print(problem, file=sys.stderr)  # noqa: T201 - the command's only output
        sys.exit(problem.exit_code)
