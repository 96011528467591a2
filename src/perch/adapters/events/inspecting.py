"""Asks a collector for samples and windows of requests, and tells it what was found of them, with the judge's token."""

import msgspec

from perch.adapters.events.client import EventsClient
from perch.errors import PlatformError
from perch.signals.inspection import Inspection, Sampled
from perch.signals.judging import Judged, Window

_sample = msgspec.json.Decoder(list[Sampled])
_window: msgspec.json.Decoder[Window | None] = msgspec.json.Decoder(Window | None)


class InspectingClient(EventsClient):
    """A connection to a collector while its block lasts, opened by its judge's token.

    All methods raise `PlatformError` when it does not answer.
    """

    def sample(self, version: int, from_s: float, until_s: float) -> list[Sampled]:
        """Requests of a version from a time on and before another one, in seconds since the epoch."""
        query = {"version": str(version), "from_s": repr(from_s), "until_s": repr(until_s)}
        try:
            return _sample.decode(self._ask("GET", "/v1/sample", params=query))
        except msgspec.MsgspecError as error:
            raise PlatformError(f"The collector's sample cannot be read ({error}). Is it of another Perch?") from None

    def keep(self, inspection: Inspection) -> None:
        """Tell what was found."""
        self._ask("POST", "/v1/inspections", json=msgspec.to_builtins(inspection))

    def window(self) -> Window | None:
        """What is to be judged next; `None`: nothing yet."""
        try:
            return _window.decode(self._ask("GET", "/v1/window"))
        except msgspec.MsgspecError as error:
            raise PlatformError(f"The collector's window cannot be read ({error}). Is it of another Perch?") from None

    def judge(self, judged: Judged) -> None:
        """Tell what was found of a window."""
        self._ask("POST", "/v1/judgements", json=msgspec.to_builtins(judged))
