"""What is kept about a person, and how it is forgotten.

Sensitive attributes stand in a table of their own, written by an endpoint of its own. In a PostgreSQL that has the role
`schema.ATTRIBUTES_ROLE` the table belongs to that role, and is reached by taking it for one transaction.
"""

import json
from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, delete, or_, select, text

from perch.adapters.events import schema
from perch.adapters.events.writing import put
from perch.signals.events import Category, Column, Forgotten, UserId

ATTRIBUTES_KEPT_S: Final = 90 * 86_400.0
"""After a user was last told of, or had a prediction that was kept: who comes once in a season is still in a group, and
nobody who stays away is for longer."""


class Attribute(msgspec.Struct, frozen=True):
    """A sensitive attribute of a user."""

    user: UserId
    name: Column
    value: Category


_EXPORTS = text("""
SELECT name FROM exports
WHERE EXISTS (
    SELECT * FROM predictions WHERE user_id = :user AND time_s >= exports.since_s AND time_s < exports.until_s
)
ORDER BY made_s
""")


_OF_SERVED = "EXISTS (SELECT * FROM predictions WHERE predictions.user_id = attributes.user_id)"
_DUE = "(user_id, name) IN (SELECT user_id, name FROM attributes WHERE seen_s < :before_s LIMIT :most)"
_RENEW = text(f"UPDATE attributes SET seen_s = :now_s WHERE {_DUE} AND {_OF_SERVED}")  # noqa: S608  words of ours
_FORGET = text(f"DELETE FROM attributes WHERE {_DUE} AND NOT {_OF_SERVED}")  # noqa: S608  words of ours


def keep_attributes(connection: Connection, attributes: Sequence[Attribute], now_s: float) -> None:
    """Keep attributes; a later value of the same name takes the place of the earlier one."""
    schema.take_attributes_role(connection)
    latest = {(one.user, one.name): one.value for one in attributes}
    rows = [{"user_id": user, "name": name, "value": value, "seen_s": now_s} for (user, name), value in latest.items()]
    put(connection, schema.attributes, rows)


def forget(connection: Connection, user: str) -> Forgotten:
    """Delete all rows of a user. What was counted stays counted."""
    exports = list(connection.scalars(_EXPORTS, {"user": user}))
    asked = select(schema.predictions.c.request_id).where(schema.predictions.c.user_id == user)
    raw = schema.parked.c.raw
    mentions = or_(*(raw.contains(form, autoescape=True) for form in {user, json.dumps(user)[1:-1]}))
    inputs = _changed(connection, delete(schema.inputs).where(schema.inputs.c.request_id.in_(asked)))
    outcomes = _changed(connection, delete(schema.outcomes).where(schema.outcomes.c.request_id.in_(asked)))
    predictions = _changed(connection, delete(schema.predictions).where(schema.predictions.c.user_id == user))
    parked = _changed(connection, delete(schema.parked).where(mentions))
    schema.take_attributes_role(connection)
    attributes = _changed(connection, delete(schema.attributes).where(schema.attributes.c.user_id == user))
    return Forgotten(predictions, inputs, outcomes, attributes, parked, exports)


def forget_attributes_of_absent(connection: Connection, left: Collection[str], now_s: float, most: int) -> int:
    """Delete what is kept of users who have been absent for `ATTRIBUTES_KEPT_S`, as the last thing of a transaction.

    Args:
        connection: To the event store.
        left: Users some of whose predictions were there until now.
        now_s: The time of the store's clock.
        most: So many attributes at most.

    Returns:
        How many were due; those of users with predictions are due again as much later.
    """
    schema.take_attributes_role(connection)
    if left:
        seen = schema.attributes.update().where(schema.attributes.c.user_id.in_(left))
        connection.execute(seen.values(seen_s=now_s))
    due = {"before_s": now_s - ATTRIBUTES_KEPT_S, "most": most}
    renewed = _changed(connection, _RENEW.bindparams(now_s=now_s, **due))
    return renewed + _changed(connection, _FORGET.bindparams(**due))


def _changed(connection: Connection, statement: Any) -> int:  # noqa: ANN401  a statement of SQLAlchemy's
    return int(connection.execute(statement).rowcount)
