"""Labels for a rollout: what became known since it last asked, each handed out once.

**Pairs**, for `perch.core.paired`: the champion answered a request, the canary scored its copy, and it is known whether
it was clicked. A label is handed out when its request reaches the end of the attribution window, be it clicked early,
late or not at all. So its age is fixed before, as `paired.loss` asks: if a label were handed out at its click, all
requests would be clicked ones. And at that age every click that counts has come, so that no request stands for "not
clicked" whose click is on its way. A click that is told later than it came, by more than is left of the window, is
taken for none.

A label belongs to one row, the one that was shown, and a prediction has the score of the row that *its* version would
show. So only requests for which both would show the same row make a pair. For those the canary would have met the same
user with the same row, so the click would have been its own; and choosing them treats both alike, so that versions of
equal worth differ by nothing in the mean: retrained models agree on 7 of 10 slates of the simulated market, and differ
there by 0.0 to 0.2 % of their loss. On all rows that the champion shows the canary would seem 0.5 to 0.8 % better, for
a version shows what it rates too high. Of what they would show differently only clicks can tell.

**Clicks**, for `perch.core.clicks`: those that newly joined, by the time at which their requests were answered, with
the canary's share of the requests of that time.

**Once.** A `Cursor` says how far labels have been handed out. It is plain data that belongs to who asks, and nothing is
remembered here. Clicks have numbers in the order in which they joined, pairs go by the time of their request. What that
costs: a prediction that is told more than a window after its request makes no pair.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from perch.core.paired import loss, spread
from perch.core.types import Arm, Cohort, Outcomes

# The tick, for within it the weights stay. Were requests pooled over a raise, most of the fresh clicks would be of the
# latest ones, and a canary that loses clicks would be cleared by a share which lags behind.
_COHORT_S = 1.0

# An answer holds at most this much, so that who was away for long catches up in steps of which none takes long.
_MOST_CLICKS = 300
_LONGEST_S = 30.0

# The cross join keeps SQLite from looking for the copies first.
_PAIRS = """
SELECT copy.score, live.score, clicked.label IS NOT NULL
FROM predictions AS live
CROSS JOIN predictions AS copy ON copy.request_id = live.request_id AND copy.shadow = 1
LEFT JOIN outcomes AS clicked
    ON clicked.request_id = live.request_id AND clicked.result = 'joined' AND clicked.label = 1
WHERE live.time_s > :from_s AND live.time_s <= :to_s AND live.shadow = 0
  AND live.arm = 'stable' AND live.version = :stable AND copy.version = :canary
  AND copy.shown = live.shown AND copy.rows = live.rows
"""

_CLICKS = """
SELECT number, time_s, arm FROM clicks
WHERE number > :number AND time_s >= :since_s
  AND (arm = 'stable' AND version = :stable OR arm = 'canary' AND version = :canary)
ORDER BY number LIMIT :most
"""

_ANSWERED = """
SELECT count(*) FILTER (WHERE arm = 'canary'), count(*) FROM predictions
WHERE time_s >= max(:from_s, :since_s) AND time_s < :to_s AND shadow = 0
  AND (arm = 'stable' AND version = :stable OR arm = 'canary' AND version = :canary)
"""

_LAST_CLICK = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'clicks'"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whose labels are asked for."""

    stable: str
    """The champion's version."""

    canary: str
    """The challenger's."""

    since_s: float
    """Begin of the rollout, in seconds since the epoch; earlier requests do not count."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far labels have been handed out; at first nothing has."""

    clicks: int = 0
    """Number of the last click."""

    paired_s: float = 0.0
    """Time of the request of the last pair, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Labels that became known, and the cursor to ask with for the next ones."""

    outcomes: Outcomes
    cursor: Cursor


def arrivals(db: sqlite3.Connection, comparison: Comparison, cursor: Cursor, mature_s: float) -> Arrivals:
    """Read the labels behind a cursor.

    Args:
        db: The outcome store.
        comparison: Whose labels.
        cursor: As the last answer had it.
        mature_s: Requests up to this time have reached the end of the attribution window.
    """
    paired, paired_s = _pairs(db, comparison, cursor, mature_s)
    cohorts, clicks = _cohorts(db, comparison, cursor)
    return Arrivals(Outcomes(cohorts, paired), Cursor(clicks, paired_s))


def _pairs(
    db: sqlite3.Connection, comparison: Comparison, cursor: Cursor, mature_s: float
) -> tuple[tuple[float, ...], float]:
    """The pairs behind a cursor, counted by their difference of loss, and the time up to which they go."""
    from_s = max(cursor.paired_s, comparison.since_s)
    to_s = max(from_s, min(mature_s, from_s + _LONGEST_S))
    rows = db.execute(_PAIRS, {**asdict(comparison), "from_s": from_s, "to_s": to_s}).fetchall()
    if not rows:
        return (), to_s
    canary, stable, clicked = zip(*rows, strict=True)
    return spread(loss(canary, clicked, 1.0) - loss(stable, clicked, 1.0)), to_s


def _cohorts(db: sqlite3.Connection, comparison: Comparison, cursor: Cursor) -> tuple[tuple[Cohort, ...], int]:
    """The clicks behind a cursor, of times at which both arms answered, and the number up to which they go."""
    ((last,),) = db.execute(_LAST_CLICK)
    number = cursor.clicks if cursor.clicks <= last else 0  # a cursor of a store that has been moved away
    asked = {**asdict(comparison), "number": number, "most": _MOST_CLICKS}
    rows = db.execute(_CLICKS, asked).fetchall()
    cohorts = tuple(_cohort(db, comparison, begin_s, arms) for begin_s, arms in _by_time(rows).items())
    handed_out = rows[-1][0] if len(rows) == _MOST_CLICKS else last
    return tuple(cohort for cohort in cohorts if 0 < cohort.share < 1), handed_out


def _by_time(clicks: Iterable[tuple[int, float, str]]) -> dict[float, list[str]]:
    """The arms of clicks, by when the time of their requests began."""
    arms = defaultdict(list)
    for _, time_s, arm in clicks:
        arms[time_s // _COHORT_S * _COHORT_S].append(arm)
    return arms


def _cohort(db: sqlite3.Connection, comparison: Comparison, begin_s: float, clicked: list[str]) -> Cohort:
    asked = {**asdict(comparison), "from_s": begin_s, "to_s": begin_s + _COHORT_S}
    ((canary, both),) = db.execute(_ANSWERED, asked)
    return Cohort(canary / both, clicked.count(Arm.CANARY), clicked.count(Arm.STABLE))
