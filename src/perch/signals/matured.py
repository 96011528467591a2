"""What a version predicted, and what came of it, for requests whose labels are final.

Only what is older than the attribution window is summed: a younger request may be clicked yet, and would count as one
that was not. Copies are left out, for nobody saw their answers; so are the requests of other versions. What is older
than two windows is forgotten, so who asks less often misses some, and the sums of the rest are as true.
"""

import sqlite3
from dataclasses import dataclass
from math import log, log1p

from perch.core.decay import Matured

_SMALLEST = 1e-9

STEP_S = 120.0
"""An answer sums at most so much time, so that who was away for long catches up in steps of which none takes long."""

_SUMS = """
SELECT count(*), coalesce(sum(clicked), 0), coalesce(sum(score), 0.0), coalesce(sum(log_loss(score, clicked)), 0.0)
FROM (
    SELECT live.score, outcome.label IS NOT NULL AS clicked
    FROM predictions AS live
    LEFT JOIN outcomes AS outcome
        ON outcome.request_id = live.request_id AND outcome.result = 'joined' AND outcome.label = 1
    WHERE live.time_s > :from_s AND live.time_s <= :to_s AND live.shadow = 0 AND live.version = :version
)
"""


@dataclass(frozen=True, slots=True)
class MaturedSince:
    """What became final since somebody asked."""

    matured: Matured
    until_s: float
    """Time of the last request that is counted, in seconds since the epoch: to ask with the next time."""


def matured_since(db: sqlite3.Connection, version: str, since_s: float, mature_s: float) -> MaturedSince:
    """Sum the live requests of a version that were answered after a time, in steps of two minutes.

    Args:
        db: The outcome store.
        version: Whose requests.
        since_s: As the last answer's `until_s`.
        mature_s: Requests up to this time have reached the end of the attribution window.
    """
    db.create_function("log_loss", 2, _log_loss, deterministic=True)
    until_s = max(since_s, min(mature_s, since_s + STEP_S))
    ((requests, clicks, expected, loss),) = db.execute(_SUMS, {"version": version, "from_s": since_s, "to_s": until_s})
    return MaturedSince(Matured(requests, clicks, expected, loss), until_s)


def _log_loss(score: float, clicked: int) -> float:
    probability = min(max(score, _SMALLEST), 1 - _SMALLEST)
    return -log(probability) if clicked else -log1p(-probability)
