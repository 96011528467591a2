"""Counting loses nothing, in whatever order things arrive."""

import tempfile
from itertools import accumulate
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from event_stores import relax
from perch.adapters.events.store import EventStore
from perch.core.types import Counts
from perch.signals.events import Outcome, Prediction
from perch.signals.observe import difference

REQUESTS = st.integers(0, 12)
PREDICTIONS = st.builds(
    lambda i, arm: Prediction(f"r{i}", "ads", "1" if arm == "stable" else "2", arm, i, 0.1, 1, 0),
    REQUESTS,
    st.sampled_from(["stable", "shadow"]),
)
OUTCOMES = st.builds(lambda i: Outcome(f"r{i}", i % 2, i + (5.0 if i % 3 else 50.0)), REQUESTS)
EVENTS = st.lists(st.one_of(PREDICTIONS, OUTCOMES), max_size=40)


def fill(events):
    with tempfile.TemporaryDirectory() as folder, EventStore(Path(folder) / "store", 10.0) as store:
        relax(store)
        for event in events:
            if isinstance(event, Prediction):
                store.add_predictions([event])
            else:
                store.add_outcomes([event])
        return store.summary()


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.randoms())
def test_the_order_of_arrival_changes_no_count(events, random):
    shuffled = random.sample(events, len(events))
    assert set(fill(events).tallies) == set(fill(shuffled).tallies)
    assert fill(events).pending == fill(shuffled).pending


@settings(max_examples=60, deadline=None)
@given(EVENTS)
def test_every_outcome_is_counted_once_and_joins_by_the_rule(events):
    summary = fill(events)
    outcomes = [e.request_id for e in events if isinstance(e, Outcome)]
    live = {e.request_id for e in events if isinstance(e, Prediction) and e.arm == "stable"}
    known = set(outcomes) & live
    late = {r for r in known if int(r[1:]) % 3 == 0}
    assert summary.count("duplicate") == len(outcomes) - len(set(outcomes))
    assert summary.pending == len(set(outcomes) - live)
    assert summary.count("late") == len(late)
    assert summary.count("joined") == len(known - late)
    assert {tally.arm for tally in summary.tallies if tally.result in {"joined", "late"}} <= {"stable"}


@given(st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=5), min_size=1, max_size=5))
def test_differences_add_up_to_all_that_was_counted_across_restarts(runs):
    """Each run is a process's life: requests counted tick by tick. Only a restart is below the last reading."""
    readings, counted, last = [], 0, 0
    for run in runs:
        totals = list(accumulate(run))
        if readings and totals[0] >= last:
            continue  # nobody can tell this restart from traffic
        readings += totals
        counted += totals[-1]
        last = totals[-1]
    seen = [difference(None, one(0))] + [
        difference(one(before), one(after)) for before, after in zip([0, *readings], readings, strict=False)
    ]
    assert sum(counts.requests for counts in seen) == counted


def one(n):
    return Counts(n, 0, (n,), (n,))
