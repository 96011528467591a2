"""Answers why rows were scored as they were: what each input adds to the log-odds.

It costs a tree model ten times what a score does, and nobody waits for it in an auction. So it has a thread of its own,
few rows and few callers at a time; and it is no prediction: it is not counted for an arm, and no event tells of it.
"""

import asyncio
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import msgspec

from perch import asgi
from perch.asgi import Disconnected, Headers, Receive, Refusal
from perch.serving.columns import Inputs
from perch.serving.failures import FailureLog
from perch.serving.faults import FaultSwitch
from perch.serving.question import Answer, Identity, Parse, Question
from perch.serving.rows import Predict, Rank
from perch.serving.scoring import check
from perch.signals import names
from perch.workload.attribution import Attributor
from perch.workload.features import Columns

ROW_LIMIT = 100
"""They take some 50 ms of trees."""

WAITING_LIMIT = 8
_BODY_LIMIT_BYTES = 1_000_000


class Explanation(msgspec.Struct):
    """Of one row. The base and what all inputs add, or all features, sum up to the log-odds of the model's score."""

    score: float
    """Probability."""

    base: float
    """Log-odds to which the rest is added: those of an average row."""

    inputs: Mapping[str, float]
    """What each input adds to the log-odds, by its column."""

    features: Mapping[str, float]
    """The same by what the model reads: the numbers that are made of the inputs, and of crosses of two."""


class ExplainResponse(msgspec.Struct):
    """An answer: one explanation for each row."""

    model: str
    version: str
    explanations: list[Explanation]


class Explain:
    """Answers requests for explanations."""

    def __init__(
        self, identity: Identity, inputs: Inputs, switch: FaultSwitch, attributor: Attributor | None = None
    ) -> None:
        """Make it.

        Args:
            identity: What is served.
            inputs: The model's.
            switch: Scores, with the faults that are switched on: what the model was given is explained.
            attributor: Says what inputs add; `None`: the model cannot tell.
        """
        self._identity = identity
        self._switch = switch
        self._attributor = attributor
        self._questions: Mapping[str, Parse] = {
            "/explain": Rank(inputs, identity),
            f"/v1/models/{identity.model}:explain": Predict(inputs),
        }
        self._thread = ThreadPoolExecutor(1, "explain")
        self._waiting = 0
        self._failures = FailureLog()

    @property
    def paths(self) -> Collection[str]:
        """Where it is asked."""
        return self._questions.keys()

    async def __call__(self, path: str, headers: Headers, receive: Receive) -> Answer:
        """Answer one request.

        Raises:
            Refusal: 400 or 413, the body cannot be understood or is too large; 501, the model cannot tell; 503, too
                many wait; 500, the model failed.
        """
        if self._attributor is None:
            raise Refusal(HTTPStatus.NOT_IMPLEMENTED, "This kind of model does not say what its inputs add.")
        try:
            explanations = await self._explained(self._attributor, await self._question(path, headers, receive))
        except Disconnected:
            raise Refusal(HTTPStatus.BAD_REQUEST, "The caller went away.") from None
        except Refusal:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a model raises, the caller is answered
            self._failures.tell("for an explanation", error, explained=False)
            sentence = "The model failed; the server's log tells of one failure a second."
            raise Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, sentence) from None
        response = ExplainResponse(self._identity.model, self._identity.version, explanations)
        version = names.VERSION_HEADER.encode(), self._identity.version.encode()
        return Answer(msgspec.json.encode(response), headers=(version,))

    async def _question(self, path: str, headers: Headers, receive: Receive) -> Question:
        question = self._questions[path](await asgi.read_body(receive, headers, _BODY_LIMIT_BYTES), headers)
        if question.rows > ROW_LIMIT:
            sentence = f"The request has {question.rows:,} rows; at most {ROW_LIMIT} are explained at a time."
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, sentence)
        return question

    async def _explained(self, attributor: Attributor, question: Question) -> list[Explanation]:
        """A place is taken by a whole body only: slow callers would hold all of them."""
        if self._waiting >= WAITING_LIMIT:
            sentence = f"{WAITING_LIMIT} explanations are in work already; ask again later."
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, sentence)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._thread, self._explanations, attributor, question.columns, question.rows
            )
        finally:
            self._waiting -= 1

    def _explanations(self, attributor: Attributor, columns: Columns, rows: int) -> list[Explanation]:
        scores = self._switch.score(columns)
        check(scores.probabilities, rows)
        assert scores.features is not None, "a model that was loaded tells what it read"
        parts = attributor.features_of(scores.features)
        of_inputs = attributor.inputs_of(parts)
        return [
            Explanation(
                score,
                float(part[-1]),
                dict(zip(attributor.inputs, of_input.tolist(), strict=True)),
                dict(zip(attributor.features, part[:-1].tolist(), strict=True)),
            )
            for score, part, of_input in zip(scores.probabilities, parts, of_inputs, strict=True)
        ]
