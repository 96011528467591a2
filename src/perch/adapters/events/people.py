"""What is kept about a person, and how it is forgotten.

Sensitive attributes stand in a table of their own, written by an endpoint of its own. In a PostgreSQL that has the role
`schema.ATTRIBUTES_ROLE` the table belongs to that role, and is reached by taking it for one transaction.
"""

import json
from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, exists, or_, select, text

from perch.adapters.events import schema
from perch.adapters.events.writing import put
from perch.signals.events import Category, Column, Forgotten, UserId


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


def keep_attributes(connection: Connection, attributes: Sequence[Attribute]) -> None:
    """Keep attributes; a later value of the same name takes the place of the earlier one."""
    schema.take_attributes_role(connection)
    latest = {(one.user, one.name): one.value for one in attributes}
    rows = [{"user_id": user, "name": name, "value": value} for (user, name), value in latest.items()]
    put(connection, schema.attributes, rows)


def forget(connection: Connection, user: str) -> Forgotten:
    """Delete all rows of a user. What was counted stays counted."""
    exports = list(connection.scalars(_EXPORTS, {"user": user}))
    asked = select(schema.predictions.c.request_id).where(schema.predictions.c.user_id == user)
    raw = schema.parked.c.raw
    mentions = or_(*(raw.contains(form, autoescape=True) for form in {user, json.dumps(user)[1:-1]}))
    inputs = _deleted(connection, delete(schema.inputs).where(schema.inputs.c.request_id.in_(asked)))
    outcomes = _deleted(connection, delete(schema.outcomes).where(schema.outcomes.c.request_id.in_(asked)))
    predictions = _deleted(connection, delete(schema.predictions).where(schema.predictions.c.user_id == user))
    parked = _deleted(connection, delete(schema.parked).where(mentions))
    schema.take_attributes_role(connection)
    attributes = _deleted(connection, delete(schema.attributes).where(schema.attributes.c.user_id == user))
    return Forgotten(predictions, inputs, outcomes, attributes, parked, exports)


def forget_attributes_of_absent(connection: Connection, users: Collection[str]) -> None:
    """Delete what is kept of those of some users of whom no prediction is left."""
    if not users:
        return
    schema.take_attributes_role(connection)
    of_user, served = schema.attributes.c.user_id, schema.predictions.c.user_id
    is_served = exists().where(served == of_user)
    connection.execute(delete(schema.attributes).where(of_user.in_(users), ~is_served))


def _deleted(connection: Connection, statement: Any) -> int:  # noqa: ANN401  a delete of SQLAlchemy's
    return int(connection.execute(statement).rowcount)
