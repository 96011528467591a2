"""Predictions and outcomes of one service, joined by request id. Every outcome is counted once, by what became of it.

Outcomes may come before their prediction: serving sends its events in the background. Such an outcome stays pending
until the prediction arrives; when none came within an attribution window of the store's clock, it is unknown. The
prediction of a mirrored request is kept beside the live one and takes no outcomes.

What is older than two attribution windows, or than the retention where that is longer, can matter no more and is
forgotten, so the store has a bounded size. The counts remain. Since predictions with outcomes go by the predictions'
time, and outcomes by the store's clock, no clock of a sender can keep an outcome or have it counted twice.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self

import msgspec
from sqlalchemy import Connection, text

from perch.adapters.events import schema
from perch.adapters.events.earnings import add_earnings, earnings
from perch.adapters.events.engine import StoreError, open_engine, scrub, transaction
from perch.adapters.events.fairness import fairness
from perch.adapters.events.inspections import inputs_kept_s, inspections, keep_inspection, sample
from perch.adapters.events.judgements import add_judgement, compared, judgements_since, window
from perch.adapters.events.labels import arrivals
from perch.adapters.events.matured import matured_since
from perch.adapters.events.parking import Parked, park
from perch.adapters.events.people import Attribute, forget, keep_attributes
from perch.adapters.events.quality import quality, sum_up
from perch.adapters.events.reading import Span, kept
from perch.adapters.events.retention import forget_older
from perch.adapters.events.writing import OfRequests, add_up, advance, batches, insert_new, put
from perch.errors import PlatformError
from perch.signals.earnings import Earning
from perch.signals.events import CLICK, SHADOW, Forgotten, Kept, Outcome, Prediction
from perch.signals.fairness import Fairness
from perch.signals.inspection import Inspection, Sampled
from perch.signals.judging import Judged, Window
from perch.signals.labels import Arrivals, Comparison, Cursor
from perch.signals.matured import MaturedSince
from perch.signals.summary import Summary, Tally

MOST_SOURCES: Final = 16
"""Sources of outcomes that a store knows: each is a label of metrics."""

_LIVE = OfRequests(
    "SELECT request_id, time_s, model, version, arm FROM predictions WHERE shadow = 0 AND request_id {ids}"
)
_TOLD = OfRequests("SELECT request_id, source, label FROM outcomes WHERE request_id {ids}")
_WAITING = OfRequests(
    "SELECT request_id, source, label, time_s FROM outcomes WHERE result = 'pending' AND request_id {ids}"
)

_SETTLE = text("""
UPDATE outcomes SET result = :result, answered_s = :answered_s, model = :model, version = :version, arm = :arm
WHERE request_id = :request_id AND source = :source
""")

_UNKNOWN = text(
    "UPDATE outcomes SET result = 'unknown' WHERE result = 'pending' AND arrived_s < :before_s RETURNING source"
)

_PENDING = text("SELECT count(*) FROM outcomes WHERE result = 'pending'")
_TALLIES = text("SELECT result, source, model, version, arm, outcomes, clicks FROM tallies ORDER BY 1, 2, 3, 4, 5")
_PARKED_PREDICTIONS = text("SELECT reason, events FROM parked_counts WHERE kind = 'prediction' ORDER BY 1")
_SOURCES = text("SELECT source FROM tallies UNION SELECT source FROM outcomes")


class EventStore:
    """Predictions and outcomes of one service. One thread at a time.

    All methods raise `StoreError` when the database fails, and `StoreFullError` when it has no room; then nothing of
    what they were told is kept.
    """

    def __init__(
        self,
        store: str | Path,
        attribution_window_s: float,
        clock: Callable[[], float] = time.time,
        *,
        retention_s: float = 0.0,
        password: str | None = None,
    ) -> None:
        """Open or create the store; one of an older Perch is migrated.

        Args:
            store: The SQLite file, whose folder must exist, or the URL of a PostgreSQL.
            attribution_window_s: An outcome this long after its prediction, in seconds, still belongs to it.
            clock: Says when outcomes come, in seconds since the epoch.
            retention_s: How long events are kept, in seconds; at least two attribution windows.
            password: Of the URL.

        Raises:
            UsageError: the URL is none.
            PlatformError: the store cannot be opened, is none, or is of a newer Perch.
        """
        self.window_s = attribution_window_s
        self.retention_s = max(retention_s, 2 * attribution_window_s)
        self._clock = clock
        self.engine = open_engine(store, password)
        try:
            with transaction(self.engine) as connection:
                schema.bring_up_to_date(connection)
                self._sources = set(connection.scalars(_SOURCES)) | {CLICK}
        except StoreError as error:
            self.engine.dispose()
            raise PlatformError(
                f"The event store {self.engine.url.render_as_string()} cannot be opened ({error.reason}); name another "
                "file, or move this one away."
            ) from None
        except PlatformError:
            self.engine.dispose()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.dispose()

    # --- what is told ---

    def add_predictions(self, predictions: Sequence[Prediction], parked: Sequence[Parked] = ()) -> None:
        """Store predictions, and join the outcomes that waited for them. One that is known already is ignored."""
        with transaction(self.engine) as connection:
            for batch in batches(predictions):
                insert_new(connection, schema.predictions, [_prediction_row(one) for one in batch])
                insert_new(connection, schema.inputs, [_input_row(one) for one in batch if _has_input(one)])
                self._settle(connection, [one.request_id for one in batch])
            park(connection, "prediction", parked, self._clock())

    def add_outcomes(self, outcomes: Sequence[Outcome], parked: Sequence[Parked] = ()) -> None:
        """Store outcomes and join those whose prediction is known. Of each source the first one of a request stays."""
        outcomes, nameless = self._of_known_sources(outcomes)
        parked = [*parked, *nameless]
        with transaction(self.engine) as connection:
            for batch in batches(outcomes):
                new, told_again = _compare(connection, batch)
                _count(connection, told_again)
                rows = self._joined(connection, [_outcome_row(one, self._clock()) for one in new])
                insert_new(connection, schema.outcomes, rows)
                _count(connection, rows)
                _list_clicks(connection, rows)
            _count(connection, [{"result": one.reason} for one in parked])
            park(connection, "outcome", parked, self._clock())
        self._sources.update(one.source for one in outcomes)

    def tidy(self) -> bool:
        """Do a little of what is due: settle what nobody claims, sum up what is mature, forget what is old.

        Returns:
            Whether there is more to do, for which others need not wait.
        """
        now_s = self._clock()
        with transaction(self.engine) as connection:
            unknown = connection.execute(_UNKNOWN, {"before_s": now_s - self.window_s})
            _count(connection, [{"result": "unknown", "source": row.source} for row in unknown])
            is_summed = all([sum_up(connection, now_s, self.window_s), add_earnings(connection, now_s, self.window_s)])
            if not is_summed:
                return True  # before anything is forgotten, for what was not summed up would be lost
            return not forget_older(connection, now_s - self.retention_s, now_s)

    # --- what is asked ---

    def summary(self) -> Summary:
        """What became of all events so far."""
        with transaction(self.engine) as connection:
            pending = connection.scalar(_PENDING)
            tallies = tuple(Tally(*row) for row in connection.execute(_TALLIES))
            parked = {row.reason: row.events for row in connection.execute(_PARKED_PREDICTIONS)}
            return Summary(
                tallies,
                int(pending or 0),
                parked,
                quality(connection),
                compared(connection),
                inspections(connection),
                inputs_kept_s(connection),
            )

    def labels_since(self, comparison: Comparison, cursor: Cursor) -> Arrivals:
        """What became known for a rollout since `cursor`, each label once: see `perch.signals.labels`."""
        with transaction(self.engine) as connection:
            known = arrivals(connection, comparison, cursor, mature_s=self._clock() - self.window_s)
            if not comparison.judged:
                return known
            judgements, judged_s = judgements_since(connection, comparison, cursor.judged_s)
            return Arrivals(known.outcomes, replace(known.cursor, judged_s=judged_s), judgements)

    def window(self, comparison: Comparison) -> Window | None:
        """What is to be judged next of a rollout; `None` while there is too little: see `perch.signals.judging`."""
        with transaction(self.engine) as connection:
            return window(connection, comparison, self._clock())

    def add_judgement(self, judged: Judged) -> bool:
        """Keep what was said of a window; returns whether it is new, and overlaps with none that was judged before."""
        with transaction(self.engine) as connection:
            return add_judgement(connection, judged)

    def sample(self, version: str, from_s: float, until_s: float) -> list[Sampled]:
        """Live requests of a version with their inputs, evenly over a time: see `perch.signals.inspection`."""
        with transaction(self.engine) as connection:
            return sample(connection, version, from_s, until_s)

    def keep_inspection(self, inspection: Inspection) -> None:
        """Keep what was found of a sample, in the place of what was found before."""
        with transaction(self.engine) as connection:
            keep_inspection(connection, inspection)

    def matured_since(self, version: str, since_s: float) -> MaturedSince:
        """What became of a version's live requests after `since_s`: see `perch.signals.matured`."""
        with transaction(self.engine) as connection:
            return matured_since(connection, version, since_s, mature_s=self._clock() - self.window_s)

    def earnings_since(self, since_s: float) -> tuple[Earning, ...]:
        """What versions earned in stretches that began at a time or later: see `perch.signals.earnings`."""
        with transaction(self.engine) as connection:
            return earnings(connection, since_s)

    def fairness_since(self, since_s: float) -> Fairness:
        """How groups of people fared after a time: see `perch.signals.fairness`."""
        with transaction(self.engine) as connection:
            return fairness(connection, since_s, mature_s=self._clock() - self.window_s)

    def kept(self, span: Span) -> list[Kept]:
        """The first events of a span, with the outcomes that joined; none: there are no more."""
        with transaction(self.engine) as connection:
            return kept(connection, span)

    # --- people ---

    def keep_attributes(self, attributes: Sequence[Attribute]) -> None:
        """Keep sensitive attributes of users."""
        with transaction(self.engine) as connection:
            keep_attributes(connection, attributes, self._clock())

    def note_export(self, name: str, since_s: float, until_s: float) -> None:
        """Remember that events of a span were written to a file."""
        row = {"name": name, "since_s": since_s, "until_s": until_s, "made_s": self._clock()}
        with transaction(self.engine) as connection:
            put(connection, schema.exports, [row])

    def forget(self, user: str) -> Forgotten:
        """Delete all rows of a user; in SQLite they are gone from the file's bytes. Counts stay."""
        with transaction(self.engine) as connection:
            forgotten = forget(connection, user)
        scrub(self.engine)
        return forgotten

    # --- joining ---

    def _settle(self, connection: Connection, request_ids: Sequence[str]) -> None:
        """Join the outcomes that wait for some predictions."""
        waiting = _WAITING.rows(connection, request_ids).mappings().all()
        settled = [row for row in self._joined(connection, list(map(dict, waiting))) if row["result"] != "pending"]
        if settled:
            connection.execute(_SETTLE, settled)
            _count(connection, settled)
            _list_clicks(connection, settled)

    def _joined(self, connection: Connection, outcomes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Outcomes with what becomes of each, and whose prediction it belongs to."""
        if not outcomes:
            return []
        live = {row.request_id: row for row in _LIVE.rows(connection, [one["request_id"] for one in outcomes])}
        for one in outcomes:
            if (prediction := live.get(one["request_id"])) is None:
                one.update(result="pending", answered_s=0.0, model="", version="", arm="")
            else:
                result = "joined" if one["time_s"] - prediction.time_s <= self.window_s else "late"
                one.update(result=result, answered_s=prediction.time_s)
                one.update(model=prediction.model, version=prediction.version, arm=prediction.arm)
        return outcomes

    def _of_known_sources(self, outcomes: Sequence[Outcome]) -> tuple[list[Outcome], list[Parked]]:
        known, unknown, sources = [], [], set(self._sources)
        for one in outcomes:
            if one.source in sources or len(sources) < MOST_SOURCES:
                sources.add(one.source)
                known.append(one)
            else:
                unknown.append(Parked("source", msgspec.json.encode(one).decode()))
        return known, unknown


def _compare(connection: Connection, outcomes: Sequence[Outcome]) -> tuple[list[Outcome], list[dict[str, Any]]]:
    """Outcomes that are told for the first time, and what the others are counted as."""
    rows = _TOLD.rows(connection, [one.request_id for one in outcomes])
    told = {(row.request_id, row.source): row.label for row in rows}
    new, again = [], []
    for one in outcomes:
        label = told.get((one.request_id, one.source))
        if label is None:
            new.append(one)
            told[one.request_id, one.source] = one.label
        else:
            again.append({"result": "duplicate" if label == one.label else "contradictory", "source": one.source})
    return new, again


def _count(connection: Connection, outcomes: Sequence[Mapping[str, Any]]) -> None:
    """Add outcomes that came to a result to the tallies."""
    names = ("result", "source", "model", "version", "arm")
    totals, clicks = Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
    for one in outcomes:
        if one["result"] != "pending":
            of = tuple(one.get(name, "") for name in names)
            totals[of] += 1
            clicks[of] += one.get("label", 0)
    rows = [{**dict(zip(names, of, strict=True)), "outcomes": n, "clicks": clicks[of]} for of, n in totals.items()]
    add_up(connection, schema.tallies, rows)


def _list_clicks(connection: Connection, outcomes: Sequence[Mapping[str, Any]]) -> None:
    """Number the clicks that joined, as they are handed out: by the time of the request."""
    clicks = [
        {"time_s": one["answered_s"], "version": one["version"], "arm": one["arm"]}
        for one in outcomes
        if one["result"] == "joined" and one["source"] == CLICK and one["label"]
    ]
    if clicks:
        first = advance(connection, "clicks", len(clicks)) + 1
        insert_new(connection, schema.clicks, [{"number": first + i, **one} for i, one in enumerate(clicks)])


def _prediction_row(one: Prediction) -> dict[str, Any]:
    return {
        "request_id": one.request_id,
        "shadow": int(one.arm == SHADOW),
        "model": one.model,
        "version": one.version,
        "arm": one.arm,
        "time_s": one.time_s,
        "score": one.score,
        "rows": one.rows,
        "shown": one.shown,
        "user_id": one.user,
        "slices": _json(one.slices),
    }


def _has_input(one: Prediction) -> bool:
    return one.features is not None or one.first is not None or one.attributions is not None


def _input_row(one: Prediction) -> dict[str, Any]:
    return {
        "request_id": one.request_id,
        "shadow": int(one.arm == SHADOW),
        "time_s": one.time_s,
        "features": _json(one.features),
        "first_row": _json(one.first),
        "attributions": _json(one.attributions),
        "asked": _json(one.asked),
        "served": _json(one.served),
    }


def _outcome_row(one: Outcome, now_s: float) -> dict[str, Any]:
    return {
        "request_id": one.request_id,
        "source": one.source,
        "explicit": int(one.explicit),
        "label": one.label,
        "time_s": one.time_s,
        "value": one.value,
        "cost": one.cost,
        "arrived_s": now_s,
    }


def _json(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()
