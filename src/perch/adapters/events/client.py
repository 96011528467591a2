"""Asks a collector for what is kept, and to forget, with its control token."""

from collections.abc import Iterator, Mapping
from typing import Self

import httpx
import msgspec

from perch.errors import PlatformError
from perch.signals.earnings import Earning
from perch.signals.events import Forgotten, Kept
from perch.signals.fairness import Fairness

_TIMEOUT_S = 60.0

_page = msgspec.json.Decoder(list[Kept])
_earnings = msgspec.json.Decoder(list[Earning])
_fairness = msgspec.json.Decoder(Fairness)
_forgotten = msgspec.json.Decoder(Forgotten)


class EventsClient:
    """A connection to a collector while its block lasts. All methods raise `PlatformError` when it does not answer."""

    def __init__(self, collector: str, token: str) -> None:
        """Make a client.

        Args:
            collector: The collector's base URL.
            token: Its control token.
        """
        headers = {"authorization": f"Bearer {token}"}
        self._client = httpx.Client(base_url=collector, headers=headers, timeout=_TIMEOUT_S, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def events(self, since_s: float, until_s: float) -> Iterator[list[Kept]]:
        """Live predictions with the outcomes that joined, from a time on and before another one, in pages."""
        after_id = ""
        while True:
            query = {"since_s": repr(since_s), "until_s": repr(until_s), "after_id": after_id}
            page = _page.decode(self._ask("GET", "/v1/events", params=query))
            if not page:
                return
            yield page
            since_s, after_id = page[-1].prediction.time_s, page[-1].prediction.request_id

    def earnings(self, since_s: float) -> list[Earning]:
        """What versions earned in each arm, in stretches that began at a time or later."""
        return _earnings.decode(self._ask("GET", "/v1/earnings", params={"since_s": repr(since_s)}))

    def fairness(self, since_s: float) -> Fairness:
        """How groups of people fared with the version that each arm had last, after a time."""
        return _fairness.decode(self._ask("GET", "/v1/fairness", params={"since_s": repr(since_s)}))

    def note_export(self, name: str, since_s: float, until_s: float) -> None:
        """Have an export remembered, so that who is forgotten later is known to be in it."""
        self._ask("POST", "/v1/exports", json={"name": name, "since_s": since_s, "until_s": until_s})

    def forget(self, user: str) -> Forgotten:
        """Delete all that is kept of a user."""
        return _forgotten.decode(self._ask("POST", "/v1/forget", json={"user": user}))

    def _ask(self, method: str, path: str, *, params: Mapping[str, str] | None = None, json: object = None) -> bytes:
        try:
            answer = self._client.request(method, path, params=params, json=json)
        except httpx.HTTPError as error:
            raise PlatformError(f"The collector does not answer: {error}. See its log.") from None
        if answer.is_error:
            raise PlatformError(f"The collector refused: {_sentence(answer)}")
        return answer.content


def _sentence(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"it answered with {answer.status_code}."
