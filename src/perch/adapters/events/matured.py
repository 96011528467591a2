"""Sums up a version's mature requests out of the store; what for is told in `perch.signals.matured`."""

import numpy as np
from sqlalchemy import Connection, text

from perch.core.decay import Matured
from perch.signals.matured import STEP_S, MaturedSince
from perch.signals.quality import Sums, sums_by_bin

_LABELLED = text("""
SELECT live.score, click.label IS NOT NULL
FROM predictions AS live
LEFT JOIN outcomes AS click
    ON click.request_id = live.request_id AND click.source = 'click'
    AND click.result = 'joined' AND click.label = 1
WHERE live.time_s > :from_s AND live.time_s <= :to_s AND live.shadow = 0 AND live.version = :version
""")


def matured_since(connection: Connection, version: str, since_s: float, mature_s: float) -> MaturedSince:
    """Sum the live requests of a version that were answered after a time, in steps of two minutes.

    Args:
        connection: To the event store.
        version: Whose requests.
        since_s: As the last answer's `until_s`.
        mature_s: Requests up to this time have reached the end of the attribution window.
    """
    until_s = max(since_s, min(mature_s, since_s + STEP_S))
    rows = connection.execute(_LABELLED, {"version": version, "from_s": since_s, "to_s": until_s}).all()
    scores, clicked = np.array([tuple(row) for row in rows], np.float64).reshape(-1, 2).T
    total = sum(sums_by_bin(scores, clicked).values(), start=Sums())
    return MaturedSince(Matured(total.requests, round(total.clicks), total.expected, total.loss), until_s)
