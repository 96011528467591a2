"""Reads events, and sets aside those that cannot be taken, with the reason.

What one of them is does not touch the others: a sender that is wrong about one event would have to send the rest again.
"""

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import msgspec

from perch.adapters.events.parking import Parked
from perch.asgi import Refusal
from perch.signals.events import FORMAT, Outcome, Prediction

AHEAD_S: Final = 300.0
"""Clocks may differ by that much; what is further ahead is no time."""

LEAST_BEHIND_S: Final = 86_400.0

NUL: Final = rb"\u0000"  # PostgreSQL has no place for it

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_Event = TypeVar("_Event", Prediction, Outcome)

_items = msgspec.json.Decoder(list[msgspec.Raw])


class _Formatted(msgspec.Struct):
    format: int = FORMAT


_format = msgspec.json.Decoder(_Formatted)


@dataclass(frozen=True, slots=True)
class Taken(Generic[_Event]):
    """What a body holds."""

    events: list[_Event]
    parked: list[Parked]
    complaints: list[str]
    """A sentence for each that is parked."""


class Intake(Generic[_Event]):
    """Reads the events of one kind."""

    def __init__(self, kind: type[_Event], retention_s: float) -> None:
        """Make a reader.

        Args:
            kind: `Prediction` or `Outcome`.
            retention_s: How long the store keeps events, in seconds: what is older, and than a day, joins nothing.
        """
        self._name = kind.__name__
        self._batch: msgspec.json.Decoder[list[_Event]] = msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]
        self._one: msgspec.json.Decoder[_Event] = msgspec.json.Decoder(kind)
        self._behind_s = max(retention_s, LEAST_BEHIND_S)

    def read(self, body: bytes, now_s: float) -> Taken[_Event]:
        """The events of a body, by a clock in seconds since the epoch.

        Raises:
            Refusal: 400, the body is no JSON list.
        """
        try:
            events = self._batch.decode(body)
        except UNREADABLE:
            return self._one_by_one(body, now_s)
        if NUL in body or any(self._reason(one, now_s) for one in events):
            return self._one_by_one(body, now_s)
        return Taken(events, [], [])

    def _one_by_one(self, body: bytes, now_s: float) -> Taken[_Event]:
        try:
            items = _items.decode(body)
        except UNREADABLE as error:
            raise Refusal(400, f"The body is no JSON list of {self._name.lower()}s: {error}.") from None
        taken: Taken[_Event] = Taken([], [], [])
        for number, item in enumerate(items):
            self._take(f"{self._name} {number}", bytes(item), now_s, taken)
        return taken

    def _take(self, name: str, item: bytes, now_s: float, taken: Taken[_Event]) -> None:
        try:
            if NUL in item:
                raise msgspec.ValidationError("it holds the character U+0000")
            event = self._one.decode(item)
            reason = self._reason(event, now_s)
            complaint = f"{name}: {_COMPLAINTS[reason]}." if reason else ""
        except UNREADABLE as error:
            event, reason = None, "format" if _is_later(item) else "malformed"
            complaint = f"{name}: {error}."
        if event is not None and not reason:
            taken.events.append(event)
        else:
            taken.parked.append(Parked(reason, readable(item)))
            taken.complaints.append(complaint)

    def _reason(self, event: _Event, now_s: float) -> str:
        """Why an event that can be read is not taken; empty: it is."""
        if event.format != FORMAT:
            return "format"
        if event.time_s > now_s + AHEAD_S:
            return "future"
        return "ancient" if event.time_s < now_s - self._behind_s else ""


_COMPLAINTS = {
    "format": f"it has a format of another Perch, and this one knows {FORMAT}",
    "future": f"its `time_s` is more than {AHEAD_S:g} s ahead of the collector's clock",
    "ancient": "its `time_s` is from before all that is kept; is it in seconds since the epoch?",
}


def readable(raw: bytes) -> str:
    """Raw bytes as text that every database can hold."""
    return raw.decode(errors="replace").replace("\0", "\ufffd")


def _is_later(item: bytes) -> bool:
    try:
        return _format.decode(item).format != FORMAT
    except UNREADABLE:
        return False
