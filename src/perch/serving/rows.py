"""The two protocols that send rows: V1 (`:predict`), and `/rank` for a slate of candidates."""

from typing import TypeVar

import msgspec

from perch.asgi import Headers
from perch.serving.columns import Inputs, Value, bad_request
from perch.serving.question import Answer, Identity, Question

T = TypeVar("T")


class PredictRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Body of the V1 protocol's `:predict`. Each instance has every column of the model."""

    instances: list[dict[str, Value]]


class PredictResponse(msgspec.Struct):
    """Its answer: one probability for each instance."""

    predictions: list[float]


class RankRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `/rank`: a slate of candidates in one context."""

    context: dict[str, Value]
    """The columns that are the same for all candidates."""

    candidates: list[dict[str, Value]]
    """The other columns of each candidate."""

    values: list[float] | None = None
    """What each candidate is worth if it is clicked, such as its bid; 1 when not given."""


class RankResponse(msgspec.Struct):
    """Its answer."""

    request_id: str
    """To be sent with the outcome."""

    model: str
    version: str
    order: list[int]
    """The candidates, best first by score times value; equals stay in the order they came in."""

    scores: list[float]
    """Probability of each candidate, in the order they came in."""


_encode = msgspec.json.Encoder().encode


def decode(decoder: "msgspec.json.Decoder[T]", body: bytes) -> T:
    """A body by its type.

    Raises:
        Refusal: 400, it is not JSON or not of this type.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise bad_request(f"The body does not have the form of this request: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(
            f"The body is not JSON: {error}. A missing value is null; NaN and Infinity do not exist."
        ) from None


class Predict:
    """Reads bodies of the V1 protocol."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._decoder = msgspec.json.Decoder(PredictRequest)

    def __call__(self, body: bytes, _: Headers) -> Question:
        """See `perch.serving.question.Parse`."""
        rows = decode(self._decoder, body).instances
        return Question(self._inputs.from_rows(rows), len(rows), self._answer)

    def _answer(self, _: str, scores: list[float]) -> Answer:
        return Answer(_encode(PredictResponse(scores)))


class Rank:
    """Reads bodies of `/rank`."""

    def __init__(self, inputs: Inputs, identity: Identity) -> None:
        self._inputs = inputs
        self._identity = identity
        self._decoder = msgspec.json.Decoder(RankRequest)

    def __call__(self, body: bytes, _: Headers) -> Question:
        """See `perch.serving.question.Parse`."""
        request = decode(self._decoder, body)
        count = len(request.candidates)
        values = [1.0] * count if request.values is None else request.values
        if len(values) != count:
            raise bad_request(f"There are {len(values)} values for {count} candidates; send one for each.")
        columns = self._inputs.from_rows(request.candidates, request.context)
        return Question(columns, count, lambda request_id, scores: self._answer(request_id, scores, values))

    def _answer(self, request_id: str, scores: list[float], values: list[float]) -> Answer:
        worth = [score * value for score, value in zip(scores, values, strict=True)]
        order = sorted(range(len(worth)), key=worth.__getitem__, reverse=True)
        response = RankResponse(request_id, self._identity.model, self._identity.version, order, scores)
        return Answer(_encode(response), shown=order[0])
