"""Hands out windows of sampled rows to be judged, and keeps what is said of them: see `perch.signals.judging`."""

from dataclasses import asdict
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Text, bindparam, text

from perch.adapters.events import schema
from perch.adapters.events.writing import insert_new
from perch.core.types import Judgement
from perch.signals.events import Row
from perch.signals.judging import LOOK_BACK_S, ROWS, Judged, Sample, Window, close
from perch.signals.labels import Comparison
from perch.signals.summary import JudgedPair

_AHEAD: Final = 2 * ROWS
"""Rows of the scarcer arm that are looked at for one window, so that who was away for long catches up in steps."""

_SAMPLED = """
FROM inputs JOIN predictions AS request ON request.request_id = inputs.request_id AND request.shadow = inputs.shadow
WHERE inputs.time_s >= :from_s AND (inputs.first_row IS NOT NULL OR request.shown = 0 AND inputs.features IS NOT NULL)
"""
_OF_CANARY = "request.version = :canary AND request.arm IN ('canary', 'shadow')"
_OF_STABLE = "request.version = :stable AND request.arm = 'stable'"

_FAR_AHEAD = [
    text(f"SELECT inputs.time_s {_SAMPLED} AND {arm} ORDER BY 1 LIMIT 1 OFFSET {_AHEAD}")
    for arm in (_OF_CANARY, _OF_STABLE)
]
_SAMPLES = text(f"""
SELECT inputs.time_s, request.arm <> 'stable', inputs.request_id, inputs.shadow
{_SAMPLED} AND inputs.time_s < :until_s AND ({_OF_STABLE} OR {_OF_CANARY}) ORDER BY 1
""")

_ROWS = text(
    "SELECT coalesce(first_row, features) FROM inputs WHERE shadow = :shadow AND request_id IN :request_ids"
).bindparams(bindparam("request_ids", expanding=True, type_=Text))

_LAST = text("SELECT max(until_s) FROM judgements WHERE stable = :stable AND canary = :canary")

_COMPARED = text("""
SELECT last.stable, last.canary, every.windows, last.p_value FROM judgements AS last
JOIN (
    SELECT stable, canary, count(*) AS windows, max(until_s) AS until_s FROM judgements GROUP BY stable, canary
) AS every ON every.stable = last.stable AND every.canary = last.canary AND every.until_s = last.until_s
ORDER BY 1, 2
""")

_SINCE = text("""
SELECT p_value, finding, until_s FROM judgements
WHERE stable = :stable AND canary = :canary AND from_s >= :since_s AND until_s > :judged_s ORDER BY until_s
""")


def window(connection: Connection, comparison: Comparison, now_s: float) -> Window | None:
    """The first window that nobody has judged yet; `None` while it is not complete."""
    versions = {"stable": comparison.stable, "canary": comparison.canary}
    from_s = max(comparison.since_s, _judged_until_s(connection, versions), now_s - LOOK_BACK_S)
    asked = {**versions, "from_s": from_s}
    until_s = max(connection.scalar(far_ahead, asked) or now_s for far_ahead in _FAR_AHEAD)
    found = connection.execute(_SAMPLES, {**asked, "until_s": until_s})
    samples = (Sample(time_s, bool(is_canary), *key) for time_s, is_canary, *key in found)
    chosen = close(samples, from_s, now_s)
    if chosen is None:
        return None
    rows = (_rows(connection, arm) for arm in (chosen.stable, chosen.canary))
    return Window(comparison.stable, comparison.canary, from_s, chosen.until_s, *rows)


def add_judgement(connection: Connection, judged: Judged) -> bool:
    """Keep a judgement; returns whether it is new, and not of a window of which some was judged before."""
    if judged.from_s < _judged_until_s(connection, {"stable": judged.stable, "canary": judged.canary}):
        return False
    insert_new(connection, schema.judgements, [msgspec.structs.asdict(judged)])
    return True


def compared(connection: Connection) -> tuple[JudgedPair, ...]:
    """How often two versions were compared, and how that ended last, by versions."""
    return tuple(JudgedPair(*row) for row in connection.execute(_COMPARED))


def judgements_since(
    connection: Connection, comparison: Comparison, judged_s: float
) -> tuple[tuple[Judgement, ...], float]:
    """The judgements of a rollout's windows that ended after a time, and the time up to which they go."""
    asked = asdict(comparison)
    del asked["judged"]
    found = connection.execute(_SINCE, {**asked, "judged_s": judged_s}).all()
    judgements = tuple(Judgement(p_value, finding) for p_value, finding, _ in found)
    return judgements, found[-1].until_s if found else judged_s


def _judged_until_s(connection: Connection, versions: dict[str, str]) -> float:
    return connection.scalar(_LAST, versions) or 0.0


def _rows(connection: Connection, samples: tuple[Sample, ...]) -> list[Row]:
    rows: list[Row] = []
    for shadow in (0, 1):
        ids = [sample.request_id for sample in samples if sample.shadow == shadow]
        found: Any = connection.scalars(_ROWS, {"shadow": shadow, "request_ids": ids}) if ids else ()
        rows += map(msgspec.json.decode, found)
    return rows
