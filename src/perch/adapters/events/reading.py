"""Reads events back out of the store, a page at a time, in the order of their time."""

from collections import defaultdict
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, text

from perch.adapters.events.writing import OfRequests
from perch.signals.events import Kept, Outcome, Prediction

PAGE: Final = 2_000

_PREDICTIONS = text("""
SELECT live.request_id, live.model, live.version, live.arm, live.time_s, live.score, live.rows, live.shown,
    live.user_id, live.slices, inputs.features, inputs.attributions
FROM predictions AS live
LEFT JOIN inputs ON inputs.request_id = live.request_id AND inputs.shadow = live.shadow
WHERE live.shadow = 0 AND live.time_s < :until_s
  AND live.time_s >= :since_s AND (live.time_s > :since_s OR live.request_id > :after_id)
ORDER BY live.time_s, live.request_id LIMIT :most
""")

_OUTCOMES = OfRequests("""
SELECT request_id, label, time_s, value, source, explicit, cost FROM outcomes
WHERE result = 'joined' AND request_id {ids}
ORDER BY request_id, source
""")


class Span(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which events are asked for."""

    since_s: float
    """Time of the first one, in seconds since the epoch."""

    until_s: float
    """They are before this time."""

    after_id: str = ""
    """Of those at `since_s` only the ones behind this id: to go on with the last one's time and id."""


def kept(connection: Connection, span: Span) -> list[Kept]:
    """The first `PAGE` live predictions of a span, with the outcomes that joined them; none: there are no more."""
    asked = {"since_s": span.since_s, "until_s": span.until_s, "after_id": span.after_id, "most": PAGE}
    rows = connection.execute(_PREDICTIONS, asked).all()
    outcomes = defaultdict(list)
    for row in _OUTCOMES.rows(connection, [row.request_id for row in rows]):
        outcomes[row.request_id].append(_outcome(row))
    return [Kept(_prediction(row), outcomes[row.request_id]) for row in rows]


def _prediction(row: Any) -> Prediction:  # noqa: ANN401  a row of SQLAlchemy's
    return Prediction(
        row.request_id,
        row.model,
        row.version,
        row.arm,
        row.time_s,
        row.score,
        row.rows,
        row.shown,
        user=row.user_id,
        features=_read(row.features),
        attributions=_read(row.attributions),
        slices=_read(row.slices),
    )


def _outcome(row: Any) -> Outcome:  # noqa: ANN401  a row of SQLAlchemy's
    return Outcome(row.request_id, row.label, row.time_s, row.value, row.source, bool(row.explicit), row.cost)


def _read(value: str | None) -> Any:  # noqa: ANN401  as it was written
    return None if value is None else msgspec.json.decode(value)
