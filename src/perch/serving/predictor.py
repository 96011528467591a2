"""Answers a request for predictions and counts it, when it arrives and when it ends, whatever becomes of it.

Scoring runs in a thread of its own, one request at a time. It costs a request a tenth of a millisecond; but a loop that
scores does not read its sockets, so requests that wait for a slow model would not be seen, and neither counted as
slow nor refused when they are too many.
"""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus

import msgspec

from perch import asgi
from perch.asgi import Disconnected, Headers, Receive, Refusal, Scope, Send
from perch.errors import ModelError
from perch.serving.attributing import Attributing, Attributions
from perch.serving.context import Context, Told
from perch.serving.failures import FailureLog
from perch.serving.faults import FaultSwitch, InjectedError
from perch.serving.meters import Meter, Meters
from perch.serving.question import Answer, Identity, Parse, Question
from perch.serving.scoring import Scores, check
from perch.signals import names
from perch.signals.events import Prediction

BODY_LIMIT_BYTES = 8_000_000

IN_FLIGHT_LIMIT = 256
"""Requests worked on at a time; more would only wait, and each may hold a body in memory."""

_NOTHING = Told()
_REQUEST_ID = names.REQUEST_ID_HEADER.encode()


class Overloaded(Exception):  # noqa: N818 - a state, not an error
    """The process works on as many requests as it may."""


class Predictor:
    """Answers the requests for predictions of every protocol."""

    def __init__(
        self,
        identity: Identity,
        switch: FaultSwitch,
        meters: Meters,
        offer: Callable[[Prediction, Attributions | None], None],
        context: Context | None = None,
        *,
        attributing: Attributing | None = None,
    ) -> None:
        """Make a predictor.

        Args:
            identity: What is served.
            switch: Scores, with the faults that are switched on.
            meters: Where requests are counted.
            offer: Takes the event of each prediction, at once, and what is to be added to it when it is known.
            context: What events tell beside the score; `None`: nothing.
            attributing: Attributes the scores of which events tell the features; `None`: the model cannot tell.
        """
        self._identity = identity
        self._switch = switch
        self._meters = meters
        self._offer = offer
        self._context = context
        self._attributing = attributing
        self._in_flight = 0
        self._thread = ThreadPoolExecutor(1, "model")
        self._failures = FailureLog()
        self._version_header = (b"x-perch-version", identity.version.encode())

    async def __call__(self, parse: Parse, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whose body `parse` understands."""
        arrived_s = time.perf_counter()
        headers: Headers = dict(scope["headers"])
        meter = self._meters.of(headers, asgi.port(scope))
        request_id = _request_id(headers)
        meter.started += 1
        self._in_flight += 1
        try:
            answer = await self._answer(parse, headers, receive, meter, request_id)
            status, outcome = 200, "ok"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted and answered
            status, outcome, sentence = self._judge(error, request_id)
            answer = Answer(msgspec.json.encode({"error": sentence}))
        finally:
            self._in_flight -= 1
        meter.finish(outcome, time.perf_counter() - arrived_s)
        further = ((_REQUEST_ID, request_id.encode()), self._version_header, *answer.headers)
        await asgi.reply(send, status, answer.body, answer.content_type, further)

    async def _answer(self, parse: Parse, headers: Headers, receive: Receive, meter: Meter, request_id: str) -> Answer:
        if self._in_flight > IN_FLIGHT_LIMIT:
            raise Overloaded
        question = parse(await asgi.read_body(receive, headers, BODY_LIMIT_BYTES), headers)
        if self._switch.disturbs:
            await self._switch.disturb(receive)
        scores = await asyncio.get_running_loop().run_in_executor(self._thread, self._switch.score, question.columns)
        probabilities = scores.probabilities
        check(probabilities, question.rows)
        answer = question.answer(request_id, probabilities)
        meter.scored(scores)
        if self._attributing is not None and meter.inputs is not None and scores.features is not None:
            self._attributing.sample(meter.inputs.attributions, scores.features)
        event = self._event(request_id, meter.arm, question, scores, answer.shown)
        self._offer(event, None if event.served is None else self._attributions(request_id, scores, answer.shown))
        return answer

    def _event(self, request_id: str, arm: str, question: Question, scores: Scores, shown: int) -> Prediction:
        told = self._context.of(request_id, arm, question.columns, scores, shown) if self._context else _NOTHING
        return Prediction(
            request_id,
            self._identity.model,
            self._identity.version,
            arm,
            time.time(),
            scores.probabilities[shown],
            question.rows,
            shown,
            user=told.user,
            features=told.features,
            first=told.first,
            slices=told.slices,
            asked=told.asked,
            served=told.served,
        )

    def _attributions(self, request_id: str, scores: Scores, shown: int) -> Attributions | None:
        """What each input adds to the score of the shown row. The answer neither waits for it nor fails with it."""
        if self._attributing is None or scores.features is None:
            return None
        attributions = self._attributing.row(scores.features, shown)
        if attributions is None:
            self._meters.leave_unattributed()
        else:
            attributions.add_done_callback(partial(self._attributed, request_id))
        return attributions

    def _attributed(self, request_id: str, attributions: Attributions) -> None:
        error = None if attributions.cancelled() else attributions.exception()
        if error is not None:  # whatever a model raises, it has scored
            self._failures.tell(request_id, error, explained=False)
        if error is not None or attributions.cancelled():
            self._meters.leave_unattributed()

    def _judge(self, error: Exception, request_id: str) -> tuple[int, str, str]:
        """Status, outcome and sentence of a request that was not answered."""
        if isinstance(error, Refusal):
            return error.status, "invalid", str(error)
        if isinstance(error, Disconnected):
            return HTTPStatus.BAD_REQUEST, "invalid", "The caller went away."
        if isinstance(error, Overloaded):
            sentence = f"{IN_FLIGHT_LIMIT} requests are in work already; send this one again later."
            return HTTPStatus.SERVICE_UNAVAILABLE, "rejected", sentence
        explained = isinstance(error, (ModelError, InjectedError))
        self._failures.tell(request_id, error, explained=explained)
        sentence = f"The model failed on request {request_id}; the server's log tells of one failure a second."
        return HTTPStatus.INTERNAL_SERVER_ERROR, "error", sentence


def _request_id(headers: Headers) -> str:
    """The caller's id when it can be stored and sent back, else a new one."""
    given = headers.get(_REQUEST_ID, b"")
    if 0 < len(given) <= 128 and given.isascii():
        return given.decode()
    return os.urandom(16).hex()
