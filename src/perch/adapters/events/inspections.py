"""Hands out samples of a version's requests, and keeps what was found of them: see `perch.signals.inspection`."""

from itertools import pairwise
from typing import Any, Final

import msgspec
import numpy as np
from sqlalchemy import Connection, delete, select, text

from perch.adapters.events import schema
from perch.adapters.events.writing import insert_new
from perch.signals.inspection import SAMPLE, STRETCHES, Inspection, Sampled

_KEPT: Final = """
FROM inputs JOIN predictions AS live ON live.request_id = inputs.request_id AND live.shadow = inputs.shadow
WHERE inputs.time_s >= :from_s AND inputs.time_s < :until_s AND inputs.shadow = 0 AND inputs.features IS NOT NULL
    AND live.version = :version
"""

_FIRST: Final = text(f"SELECT inputs.time_s {_KEPT} ORDER BY inputs.time_s LIMIT 1")

_NEWEST: Final = text(
    "SELECT time_s FROM inputs WHERE shadow = 0 AND features IS NOT NULL ORDER BY time_s DESC LIMIT 1"
)

_STRETCH: Final = text(f"""
SELECT inputs.request_id, live.user_id, inputs.served, coalesce(inputs.asked, inputs.features) AS asked,
    CASE WHEN inputs.first_row IS NULL AND live.shown = 0 THEN inputs.features ELSE inputs.first_row END AS first_row
{_KEPT} ORDER BY inputs.time_s, inputs.request_id LIMIT {SAMPLE // STRETCHES}
""")


def sample(connection: Connection, version: str, from_s: float, until_s: float) -> list[Sampled]:
    """Live requests of a version whose inputs were kept, in the order of time.

    They are drawn evenly over the time from the first one on, so that one that has just begun to serve has enough.
    """
    asked = {"version": version, "until_s": until_s}
    first_s = connection.scalar(_FIRST, {**asked, "from_s": from_s})
    if first_s is None:
        return []
    sampled: list[Sampled] = []
    for begin_s, end_s in pairwise(np.linspace(first_s, until_s, STRETCHES + 1).tolist()):
        sampled += map(_sampled, connection.execute(_STRETCH, {**asked, "from_s": begin_s, "until_s": end_s}))
    return sampled


def keep_inspection(connection: Connection, inspection: Inspection) -> None:
    """Keep what was found, in the place of what was found before; what is older than that changes nothing."""
    told = msgspec.json.encode(inspection).decode()
    kept = schema.inspections.c
    connection.execute(
        delete(schema.inspections).where(kept.model == inspection.model, kept.made_s <= inspection.made_s)
    )
    insert_new(connection, schema.inspections, [{"model": inspection.model, "made_s": inspection.made_s, "told": told}])


def inspections(connection: Connection) -> tuple[Inspection, ...]:
    """What was found last of each model."""
    found = connection.scalars(select(schema.inspections.c.told).order_by(schema.inspections.c.model))
    return tuple(msgspec.json.decode(told, type=Inspection) for told in found)


def inputs_kept_s(connection: Connection) -> float | None:
    """When the last live request came whose inputs are kept; `None`: there is none."""
    newest_s: float | None = connection.scalar(_NEWEST)
    return newest_s


def _sampled(row: Any) -> Sampled:  # noqa: ANN401  a row of SQLAlchemy's
    first, served = (None if told is None else msgspec.json.decode(told) for told in (row.first_row, row.served))
    return Sampled(row.request_id, row.user_id, first, msgspec.json.decode(row.asked), served)
