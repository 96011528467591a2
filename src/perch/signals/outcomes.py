"""The store in which outcomes join their predictions, each counted once, by what became of it.

SQLite is the truth: everything is committed before it is acknowledged, so a killed process loses nothing that it
acknowledged, and a batch that is sent again changes nothing but the number of duplicates.

A mirrored request is scored twice under one request id. So a prediction's key is the request id *and* whether it was
the shadow's; outcomes join the live one, because only that was seen.

Nothing is kept for ever. An outcome whose prediction has not come within an attribution window is settled as unknown,
and what is two windows old is forgotten: a prediction by its own time, an outcome by when it came, because its sender
can write any time into it. An outcome is kept at least as long as its prediction, so none is counted twice.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from perch.errors import PlatformError
from perch.signals.events import SHADOW, Outcome, Prediction
from perch.signals.labels import Arrivals, Comparison, Cursor, arrivals
from perch.signals.matured import MaturedSince, matured_since

_TABLES = """
CREATE TABLE IF NOT EXISTS predictions (
    request_id TEXT NOT NULL, shadow INTEGER NOT NULL, model TEXT NOT NULL, version TEXT NOT NULL, arm TEXT NOT NULL,
    time_s REAL NOT NULL, score REAL NOT NULL, rows INTEGER NOT NULL, shown INTEGER NOT NULL,
    PRIMARY KEY (request_id, shadow)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_time ON predictions (time_s, shadow, arm, version);
CREATE TABLE IF NOT EXISTS outcomes (
    request_id TEXT PRIMARY KEY, label INTEGER NOT NULL, time_s REAL NOT NULL, value REAL NOT NULL,
    arrived_s REAL NOT NULL,
    result TEXT NOT NULL DEFAULT 'pending',
    model TEXT NOT NULL DEFAULT '', version TEXT NOT NULL DEFAULT '', arm TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS pending ON outcomes (request_id) WHERE result = 'pending';
CREATE INDEX IF NOT EXISTS arrived ON outcomes (arrived_s);
CREATE TABLE IF NOT EXISTS clicks (
    number INTEGER PRIMARY KEY AUTOINCREMENT, time_s REAL NOT NULL, version TEXT NOT NULL, arm TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS tallies (
    result TEXT NOT NULL, model TEXT NOT NULL, version TEXT NOT NULL, arm TEXT NOT NULL,
    outcomes INTEGER NOT NULL, clicks INTEGER NOT NULL,
    PRIMARY KEY (result, model, version, arm)
) WITHOUT ROWID;
"""

# What became of the pending outcomes of some requests, for those whose live prediction is known.
_SETTLE = """
UPDATE outcomes
SET result = CASE WHEN outcomes.time_s - prediction.time_s <= :window_s THEN 'joined' ELSE 'late' END,
    model = prediction.model, version = prediction.version, arm = prediction.arm
FROM predictions AS prediction
WHERE prediction.request_id = outcomes.request_id AND prediction.shadow = 0 AND outcomes.result = 'pending'
  AND outcomes.request_id IN (SELECT value FROM json_each(:request_ids))
RETURNING request_id, result, model, version, arm, label
"""

# Clicks that joined, as they are handed out: by the time of the request, under numbers that never come again.
_LIST_CLICKS = """
INSERT INTO clicks (time_s, version, arm)
SELECT time_s, version, arm FROM predictions
WHERE shadow = 0 AND request_id IN (SELECT value FROM json_each(:request_ids))
"""

_SETTLE_UNKNOWN = """
UPDATE outcomes SET result = 'unknown'
WHERE result = 'pending' AND arrived_s < :now_s - :window_s
"""

_FORGET_PREDICTIONS = "DELETE FROM predictions WHERE time_s < :now_s - 2 * :window_s"

_FORGET_CLICKS = "DELETE FROM clicks WHERE time_s < :now_s - 2 * :window_s"

_FORGET_OUTCOMES = """
DELETE FROM outcomes
WHERE arrived_s < :now_s - 2 * :window_s
  AND NOT EXISTS (SELECT * FROM predictions WHERE predictions.request_id = outcomes.request_id)
"""

_SWEEP_INTERVAL_S = 60.0

_TALLY = """
INSERT INTO tallies VALUES (?, ?, ?, ?, 1, ?)
ON CONFLICT DO UPDATE SET outcomes = outcomes + 1, clicks = clicks + excluded.clicks
"""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many outcomes came to one result."""

    result: str
    """`joined`, `late` (outside the attribution window), `duplicate` (an id that was told before), `unknown` (no
    prediction has this id) or `malformed`."""

    model: str
    """Model, version and arm made the prediction; empty for an outcome that belongs to none."""

    version: str
    arm: str
    outcomes: int
    clicks: int


@dataclass(frozen=True, slots=True)
class Summary:
    """All outcomes received so far. Their number is the sum of the tallies and of the pending ones."""

    tallies: tuple[Tally, ...]
    pending: int
    """Outcomes that wait for their prediction."""

    def count(self, result: str) -> int:
        """Outcomes of one result over all versions and arms."""
        return self.pending if result == "pending" else sum(t.outcomes for t in self.tallies if t.result == result)


class OutcomeStore:
    """Predictions and outcomes of one service in one SQLite file. One thread at a time."""

    def __init__(self, path: Path, attribution_window_s: float, clock: Callable[[], float] = time.time) -> None:
        """Open or create the store.

        Args:
            path: The SQLite file; its folder must exist.
            attribution_window_s: An outcome this long after its prediction, in seconds, still belongs to it.
            clock: Says when outcomes come, in seconds since the epoch.

        Raises:
            PlatformError: the file cannot be opened or is not such a store.
        """
        self._window_s = attribution_window_s
        self._clock = clock
        self._next_sweep_s = float("-inf")
        try:
            self._db = sqlite3.connect(path, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_TABLES)
            self._db.execute("SELECT shown FROM predictions LIMIT 0")  # a store of an older Perch lacks it
        except sqlite3.Error as error:
            raise PlatformError(
                f"The outcome store {path} cannot be opened ({error}); name another file, or move this one away."
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def add_predictions(self, predictions: Sequence[Prediction]) -> None:
        """Store predictions, and join the outcomes that waited for them. One that is known already is ignored.

        Now and then, what is too old to matter is settled and forgotten.
        """
        with self._db:
            self._db.executemany(
                "INSERT OR IGNORE INTO predictions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (p.request_id, p.arm == SHADOW, p.model, p.version, p.arm, p.time_s, p.score, p.rows, p.shown)
                    for p in predictions
                ],
            )
            self._settle([p.request_id for p in predictions])
            now_s = max((p.time_s for p in predictions), default=float("-inf"))
            if now_s > self._next_sweep_s:
                self._sweep(now_s)

    def add_outcomes(self, outcomes: Sequence[Outcome], malformed: int = 0) -> None:
        """Store outcomes and join those whose prediction is known; `malformed` more could not be read."""
        rows = [(o.request_id, o.label, o.time_s, o.value, self._clock()) for o in outcomes]
        insert = "INSERT OR IGNORE INTO outcomes (request_id, label, time_s, value, arrived_s) VALUES (?, ?, ?, ?, ?)"
        with self._db:
            new = self._db.executemany(insert, rows).rowcount if rows else 0
            self._tally([("duplicate", "", "", "", 0)] * (len(rows) - new))
            self._tally([("malformed", "", "", "", 0)] * malformed)
            self._settle([o.request_id for o in outcomes])

    def summary(self) -> Summary:
        """What became of all outcomes so far."""
        (pending,) = self._db.execute("SELECT count(*) FROM outcomes WHERE result = 'pending'").fetchone()
        tallies = self._db.execute("SELECT result, model, version, arm, outcomes, clicks FROM tallies")
        return Summary(tuple(Tally(*row) for row in tallies), pending)

    def labels_since(self, comparison: Comparison, cursor: Cursor) -> Arrivals:
        """What became known for a rollout since `cursor`, each label once: see `perch.signals.labels`."""
        return arrivals(self._db, comparison, cursor, mature_s=self._clock() - self._window_s)

    def matured_since(self, version: str, since_s: float) -> MaturedSince:
        """What became of a version's live requests after `since_s`: see `perch.signals.matured`."""
        return matured_since(self._db, version, since_s, mature_s=self._clock() - self._window_s)

    def _settle(self, request_ids: list[str]) -> None:
        told = {"window_s": self._window_s, "request_ids": json.dumps(request_ids)}
        settled = self._db.execute(_SETTLE, told).fetchall()
        self._tally([what for _, *what in settled])
        clicked = [request_id for request_id, result, *_, label in settled if result == "joined" and label]
        self._db.execute(_LIST_CLICKS, {"request_ids": json.dumps(clicked)})

    def _sweep(self, now_s: float) -> None:
        times = {"now_s": now_s, "window_s": self._window_s}
        unknown = self._db.execute(_SETTLE_UNKNOWN, times).rowcount
        self._tally([("unknown", "", "", "", 0)] * unknown)
        self._db.execute(_FORGET_PREDICTIONS, times)
        self._db.execute(_FORGET_CLICKS, times)
        self._db.execute(_FORGET_OUTCOMES, times)
        self._next_sweep_s = now_s + _SWEEP_INTERVAL_S

    def _tally(self, results: Sequence[Sequence[str | int]]) -> None:
        self._db.executemany(_TALLY, results)
