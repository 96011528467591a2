"""Events that cannot be taken: counted by the reason, and the latest of them kept as they came."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from perch.adapters.events import schema
from perch.adapters.events.writing import add_up, advance, insert_new

MOST: Final = 1_000
MOST_CHARACTERS: Final = 4_000


@dataclass(frozen=True, slots=True)
class Parked:
    """An event that was not taken."""

    reason: str
    """`malformed`, `format`, `future`, `ancient` or `source`."""

    raw: str
    """As it came."""


def park(connection: Connection, kind: str, events: Sequence[Parked], now_s: float) -> None:
    """Count events of a kind, and keep them in the place of the oldest ones."""
    if not events:
        return
    counts = Counter(one.reason for one in events)
    add_up(connection, schema.parked_counts, [{"kind": kind, "reason": r, "events": n} for r, n in counts.items()])
    kept = events[-MOST:]
    last = advance(connection, "parked", len(kept)) + len(kept)
    rows = [
        {"number": number, "arrived_s": now_s, "kind": kind, "reason": one.reason, "raw": one.raw[:MOST_CHARACTERS]}
        for number, one in enumerate(kept, last - len(kept) + 1)
    ]
    insert_new(connection, schema.parked, rows)
    connection.execute(schema.parked.delete().where(schema.parked.c.number <= last - MOST))
