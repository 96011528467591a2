"""Forgets what is too old to matter, a little at a time, so that no event waits for it."""

from typing import Final

from sqlalchemy import Connection, text

from perch.adapters.events.people import forget_attributes_of_absent

_STEP: Final = 2_000


def _oldest(table: str, keys: str, due: str) -> str:
    return f"DELETE FROM {table} WHERE ({keys}) IN (SELECT {keys} FROM {table} WHERE {due} LIMIT {_STEP})"  # noqa: S608


_PREDICTIONS = text(_oldest("predictions", "request_id, shadow", "time_s < :before_s") + " RETURNING user_id")

# Outcomes go by the store's clock, and not before their prediction.
_FORGET = [
    text(_oldest("inputs", "request_id, shadow", "time_s < :before_s")),
    text(_oldest("clicks", "number", "time_s < :before_s")),
    text(_oldest("judgements", "stable, canary, until_s", "until_s < :before_s")),
    text(_oldest("inspections", "model", "made_s < :before_s")),
    text(_oldest("parked", "number", "arrived_s < :before_s")),
    text(
        _oldest(
            "outcomes",
            "request_id, source",
            "arrived_s < :before_s AND NOT EXISTS"
            " (SELECT * FROM predictions WHERE predictions.request_id = outcomes.request_id)",
        )
    ),
]


def forget_older(connection: Connection, before_s: float, now_s: float) -> bool:
    """Delete some of what is from before a time, as the last thing of a transaction; returns whether that was all."""
    users = list(connection.scalars(_PREDICTIONS, {"before_s": before_s}))
    deleted = [connection.execute(statement, {"before_s": before_s}).rowcount for statement in _FORGET]
    named = {user for user in users if user is not None}
    attributes = forget_attributes_of_absent(connection, named, now_s, _STEP)
    return max(len(users), *deleted, attributes) < _STEP
