"""Keeps the sums of `perch.signals.earnings`: adds each live request once, when it is mature."""

from typing import Final

from sqlalchemy import Connection, text

from perch.adapters.events import schema
from perch.adapters.events.writing import add_up, put, reached
from perch.core.lift import Earned
from perch.signals.earnings import KEPT_S, STRATUM_S, Earning
from perch.signals.events import CLICK

_STEP_S: Final = 60.0
_NAME: Final = "earned"

_FIRST = text("SELECT min(time_s) FROM predictions WHERE shadow = 0 AND time_s >= :from_s")

_EARNED = text(f"""
SELECT request.version, request.arm, count(*), sum(request.clicked),
    sum(CASE WHEN request.revenue != 0 THEN 1 ELSE 0 END), sum(request.revenue), sum(request.revenue * request.revenue)
FROM (
    SELECT live.version AS version, live.arm AS arm,
        max(CASE WHEN good.source = '{CLICK}' THEN 1 ELSE 0 END) AS clicked,
        coalesce(sum(good.value), 0) AS revenue
    FROM predictions AS live
    LEFT JOIN outcomes AS good
        ON good.request_id = live.request_id AND good.result = 'joined' AND good.label = 1
    WHERE live.time_s >= :from_s AND live.time_s < :until_s AND live.shadow = 0
    GROUP BY live.request_id, live.version, live.arm
) AS request
GROUP BY request.version, request.arm
""")  # noqa: S608  words of ours

_SINCE = text("SELECT * FROM earned WHERE begin_s >= :since_s ORDER BY begin_s, version, arm")

_FORGET = text("DELETE FROM earned WHERE begin_s < :before_s")


def add_earnings(connection: Connection, now_s: float, window_s: float) -> bool:
    """Add some of the requests that are due; returns whether that was all."""
    due_s = now_s - window_s
    from_s = reached(connection, _NAME)
    first_s = connection.scalar(_FIRST, {"from_s": -1.0 if from_s is None else from_s})
    if first_s is None or first_s >= due_s:
        return True
    begin_s = first_s // STRATUM_S * STRATUM_S
    from_s = first_s if from_s is None else max(from_s, first_s)
    until_s = min(due_s, from_s + _STEP_S, begin_s + STRATUM_S)
    rows = connection.execute(_EARNED, {"from_s": from_s, "until_s": until_s}).all()
    names = [column.name for column in schema.earned.columns]
    add_up(connection, schema.earned, [dict(zip(names, (begin_s, *row), strict=True)) for row in rows])
    put(connection, schema.progress, [{"name": _NAME, "value": until_s}])
    connection.execute(_FORGET, {"before_s": now_s - KEPT_S})
    return bool(until_s >= due_s)


def earnings(connection: Connection, since_s: float) -> tuple[Earning, ...]:
    """The sums of the stretches that began at a time or later, by when they began."""
    found = connection.execute(_SINCE, {"since_s": since_s})
    return tuple(Earning(begin_s, version, arm, Earned(*sums)) for begin_s, version, arm, *sums in found)
