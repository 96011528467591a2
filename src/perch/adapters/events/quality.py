"""Keeps the sums of `perch.signals.quality`: adds each live request once when it is mature, and once as an estimate."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from sqlalchemy import Connection, text

from perch.adapters.events import schema
from perch.adapters.events.writing import add_up, put, reached
from perch.signals.events import CLICK
from perch.signals.quality import EDGES, ESTIMATED, MATURED, Quality, Sums, sums_by_bin

_MOST_ROWS: Final = 2_000
_MOST_PARTS: Final = 20
_OTHER: Final = "other"
_SETTLED_S: Final = 30.0
"""By then the events of a request have come."""

_FIRST = text("SELECT min(time_s) FROM predictions WHERE shadow = 0")

_REACH = text("""
SELECT time_s FROM predictions WHERE time_s > :from_s AND time_s <= :due_s AND shadow = 0
ORDER BY time_s LIMIT 1 OFFSET :most
""")

_ROWS = text(f"""
SELECT live.model, live.version, live.arm, live.score, live.slices, click.label IS NOT NULL
FROM predictions AS live
LEFT JOIN outcomes AS click
    ON click.request_id = live.request_id AND click.source = '{CLICK}' AND click.result = 'joined' AND click.label = 1
WHERE live.time_s > :from_s AND live.time_s <= :until_s AND live.shadow = 0
""")  # noqa: S608  a word of ours

_PARTS = text("SELECT DISTINCT slice, part FROM scored WHERE slice != ''")

_SCORED = text(
    "SELECT kind, model, version, arm, slice, part, bin, requests, clicks, expected, loss, loss_squared FROM scored"
    " ORDER BY 1, 2, 3, 4, 5, 6, 7"
)

_slices = msgspec.json.Decoder(dict[str, str])


def sum_up(connection: Connection, now_s: float, window_s: float) -> bool:
    """Add some of the requests that are due; returns whether that was all."""
    return all([_sum_up(connection, MATURED, now_s - window_s), _sum_up(connection, ESTIMATED, now_s - _SETTLED_S)])


def quality(connection: Connection) -> tuple[Quality, ...]:
    """All sums so far."""
    bins = defaultdict[tuple[str, str, str, str, str, str], list[Sums]](lambda: [Sums()] * (len(EDGES) + 1))
    for kind, model, version, arm, of, part, number, *sums in connection.execute(_SCORED):
        bins[kind, model, version, arm, of, part][number] = Sums(*sums)
    return tuple(
        Quality(kind, model, version, arm, of, part, tuple(found))
        for (kind, model, version, arm, of, part), found in bins.items()
    )


def _sum_up(connection: Connection, kind: str, due_s: float) -> bool:
    from_s = reached(connection, kind)
    if from_s is None:
        first_s = connection.scalar(_FIRST)
        from_s = due_s if first_s is None else first_s - 1.0
    if from_s >= due_s:
        return True
    until_s = connection.scalar(_REACH, {"from_s": from_s, "due_s": due_s, "most": _MOST_ROWS})
    rows = connection.execute(_ROWS, {"from_s": from_s, "until_s": due_s if until_s is None else until_s}).all()
    if rows:
        add_up(connection, schema.scored, _sums(connection, kind, rows))
    put(connection, schema.progress, [{"name": kind, "value": due_s if until_s is None else until_s}])
    return until_s is None


def _sums(connection: Connection, kind: str, rows: Sequence[Any]) -> list[dict[str, Any]]:
    scores = np.array([row[3] for row in rows], np.float64)
    labels = scores if kind == ESTIMATED else np.array([row[5] for row in rows], np.float64)
    parts = _Parts(connection)
    groups = defaultdict[tuple[str, ...], list[int]](list)
    for number, (model, version, arm, _, slices, _) in enumerate(rows):
        groups[model, version, arm, "", ""].append(number)
        for name, part in _slices.decode(slices).items() if slices else ():
            groups[model, version, arm, name, parts.known(name, part)].append(number)
    found = []
    for (model, version, arm, name, part), members in groups.items():
        bins = sums_by_bin(scores[members], labels[members])
        if name:
            bins = {0: sum(bins.values(), start=Sums())}
        of = {"kind": kind, "model": model, "version": version, "arm": arm, "slice": name, "part": part}
        found += [{**of, "bin": number, **{f: getattr(s, f) for f in s.__slots__}} for number, s in bins.items()]
    return found


class _Parts:
    """The parts of slices, of each of which so many get figures of their own; requests choose what they are called."""

    def __init__(self, connection: Connection) -> None:
        self._known = defaultdict[str, set[str]](set)
        for name, part in connection.execute(_PARTS):
            self._known[name].add(part)

    def known(self, name: str, part: str) -> str:
        parts = self._known[name]
        if part not in parts and len(parts) >= _MOST_PARTS:
            return _OTHER
        parts.add(part)
        return part
