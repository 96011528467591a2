"""Reads the labels of a rollout out of the store; what they are, and why, is told in `perch.signals.labels`."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import Connection, text

from perch.adapters.events.writing import reached
from perch.core.paired import loss, spread
from perch.core.types import Arm, Cohort, Outcomes
from perch.signals.labels import Arrivals, Comparison, Cursor

# The tick, for within it the weights stay. Were requests pooled over a raise, most of the fresh clicks would be of the
# latest ones, and a canary that loses clicks would be cleared by a share which lags behind.
COHORT_S: Final = 1.0

# An answer holds at most this much, so that who was away for long catches up in steps of which none takes long.
MOST_CLICKS: Final = 300
LONGEST_S: Final = 30.0

# The cross join keeps SQLite from looking for the copies first.
_PAIRS = text("""
SELECT copy.score, live.score, clicked.label IS NOT NULL
FROM predictions AS live
CROSS JOIN predictions AS copy
LEFT JOIN outcomes AS clicked
    ON clicked.request_id = live.request_id AND clicked.source = 'click'
    AND clicked.result = 'joined' AND clicked.label = 1
WHERE live.time_s > :from_s AND live.time_s <= :to_s AND live.shadow = 0
  AND live.arm = 'stable' AND live.version = :stable
  AND copy.request_id = live.request_id AND copy.shadow = 1
  AND copy.version = :canary AND copy.shown = live.shown AND copy.rows = live.rows
""")

_CLICKS = text("""
SELECT number, time_s, arm FROM clicks
WHERE number > :number AND time_s >= :since_s
  AND (arm = 'stable' AND version = :stable OR arm = 'canary' AND version = :canary)
ORDER BY number LIMIT :most
""")

_ANSWERED = text("""
SELECT count(*) FILTER (WHERE arm = 'canary'), count(*) FROM predictions
WHERE time_s >= :from_s AND time_s < :to_s AND shadow = 0
  AND (arm = 'stable' AND version = :stable OR arm = 'canary' AND version = :canary)
""")


def arrivals(connection: Connection, comparison: Comparison, cursor: Cursor, mature_s: float) -> Arrivals:
    """Read the labels behind a cursor.

    Args:
        connection: To the event store.
        comparison: Whose labels.
        cursor: As the last answer had it.
        mature_s: Requests up to this time have reached the end of the attribution window.
    """
    paired, paired_s = _pairs(connection, comparison, cursor, mature_s)
    cohorts, clicks = _cohorts(connection, comparison, cursor)
    return Arrivals(Outcomes(cohorts, paired), Cursor(clicks, paired_s))


def _pairs(
    connection: Connection, comparison: Comparison, cursor: Cursor, mature_s: float
) -> tuple[tuple[float, ...], float]:
    """The pairs behind a cursor, counted by their difference of loss, and the time up to which they go."""
    from_s = max(cursor.paired_s, comparison.since_s)
    to_s = max(from_s, min(mature_s, from_s + LONGEST_S))
    rows = connection.execute(_PAIRS, {**_versions(comparison), "from_s": from_s, "to_s": to_s}).all()
    if not rows:
        return (), to_s
    canary, stable, clicked = zip(*rows, strict=True)
    return spread(loss(canary, clicked, 1.0) - loss(stable, clicked, 1.0)), to_s


def _cohorts(connection: Connection, comparison: Comparison, cursor: Cursor) -> tuple[tuple[Cohort, ...], int]:
    """The clicks behind a cursor, of times at which both arms answered, and the number up to which they go."""
    last = int(reached(connection, "clicks") or 0)
    number = cursor.clicks if cursor.clicks <= last else 0  # a cursor of a store that has been moved away
    rows = connection.execute(_CLICKS, {**asdict(comparison), "number": number, "most": MOST_CLICKS}).all()
    cohorts = tuple(_cohort(connection, comparison, begin_s, arms) for begin_s, arms in by_time(rows).items())
    handed_out = rows[-1][0] if len(rows) == MOST_CLICKS else last
    return tuple(cohort for cohort in cohorts if 0 < cohort.share < 1), handed_out


def by_time(clicks: Iterable[Any]) -> dict[float, list[str]]:
    """The arms of clicks, each with a number and a time, by when the time of their requests began."""
    arms = defaultdict(list)
    for _, time_s, arm in clicks:
        arms[time_s // COHORT_S * COHORT_S].append(arm)
    return arms


def _cohort(connection: Connection, comparison: Comparison, begin_s: float, clicked: list[str]) -> Cohort:
    times = {"from_s": max(begin_s, comparison.since_s), "to_s": begin_s + COHORT_S}
    canary, both = connection.execute(_ANSWERED, {**_versions(comparison), **times}).one()
    return Cohort(canary / both, clicked.count(Arm.CANARY), clicked.count(Arm.STABLE))


def _versions(comparison: Comparison) -> dict[str, str]:
    return {"stable": comparison.stable, "canary": comparison.canary}
