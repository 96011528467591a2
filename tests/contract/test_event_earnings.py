"""What each arm earned: mature requests only, each once, in stretches of ten minutes, in both kinds of store."""

from types import SimpleNamespace

import pytest

from perch.adapters.events.store import EventStore
from perch.core.lift import Earned
from perch.signals.earnings import KEPT_S, STRATUM_S, Earning
from perch.signals.events import Outcome, Prediction

WINDOW_S = 100.0
BEGIN_S = 12_000.0


@pytest.fixture
def clock():
    return SimpleNamespace(now_s=BEGIN_S + 1_000)


@pytest.fixture
def store(place, clock):
    with EventStore(place, WINDOW_S, lambda: clock.now_s) as store:
        yield store


def predicted(request_id, time_s, arm="stable", version="3"):
    return Prediction(request_id, "ads", version, arm, time_s, 0.2, 8, 0)


def summed(store):
    while store.tidy():
        pass
    return list(store.earnings_since(0.0))


def test_clicks_sales_and_revenue_are_summed_by_stretch_version_and_arm(store):
    requests = [predicted(f"a{i}", BEGIN_S + i) for i in range(10)]
    requests += [predicted("b", BEGIN_S + 5, "baseline", "1"), predicted("c", BEGIN_S + STRATUM_S + 1)]
    store.add_predictions(requests)
    store.add_outcomes(
        [
            Outcome("a1", 1, BEGIN_S + 2, value=3.0),
            Outcome("a1", 1, BEGIN_S + 9, value=2.0, source="purchase"),
            Outcome("a2", 1, BEGIN_S + 3),
            Outcome("a3", 0, BEGIN_S + 4),
            Outcome("b", 1, BEGIN_S + 500, value=9.0),  # late
        ]
    )
    assert summed(store) == [
        Earning(BEGIN_S, "1", "baseline", Earned(1)),
        Earning(BEGIN_S, "3", "stable", Earned(10, clicks=2, sales=1, revenue=5.0, revenue_squared=25.0)),
        Earning(BEGIN_S + STRATUM_S, "3", "stable", Earned(1)),
    ]


def test_a_request_counts_once_and_when_it_is_mature(store, clock):
    store.add_predictions(
        [predicted("old", BEGIN_S), predicted("young", BEGIN_S + 950), predicted("copy", BEGIN_S, "shadow")]
    )
    assert [one.earned.requests for one in summed(store)] == [1]
    clock.now_s = BEGIN_S + 1_051
    assert [one.earned.requests for one in summed(store)] == [1, 1]
    assert [one.earned.requests for one in summed(store)] == [1, 1]


def test_many_steps_sum_up_to_every_request(store):
    store.add_predictions([predicted(f"r{i}", BEGIN_S + i / 2) for i in range(1_600)])
    assert [one.earned.requests for one in summed(store)] == [1_200, 400]


def test_what_is_older_than_a_year_and_a_month_goes(store, clock):
    store.add_predictions([predicted("a", BEGIN_S)])
    assert summed(store)
    clock.now_s += KEPT_S
    store.add_predictions([predicted("b", clock.now_s - 200)])
    assert [one.begin_s for one in summed(store)] == [(clock.now_s - 200) // STRATUM_S * STRATUM_S]


def test_one_may_ask_for_the_latest_only(store):
    store.add_predictions([predicted("a", BEGIN_S), predicted("b", BEGIN_S + STRATUM_S)])
    summed(store)
    assert [one.begin_s for one in store.earnings_since(BEGIN_S + 1)] == [BEGIN_S + STRATUM_S]
