"""What became final of a version's requests: no copies, no young requests, nobody else's, each once."""

from math import log

import pytest

from perch.adapters.events.store import EventStore
from perch.core.decay import Matured
from perch.signals.events import Outcome, Prediction
from perch.signals.matured import STEP_S

WINDOW_S = 100.0
NOW_S = 1_000.0
FINAL_S = NOW_S - WINDOW_S


@pytest.fixture
def store(place):
    with EventStore(place, WINDOW_S, lambda: NOW_S) as store:
        yield store


def predicted(request_id, time_s, arm="stable", version="3", score=0.2):
    return Prediction(request_id, "ads", version, arm, time_s, score, 8, 0)


def test_sums_of_final_requests_are_exact(store):
    store.add_predictions([predicted("a", 850), predicted("b", 860, score=0.1), predicted("c", 870, "canary")])
    store.add_outcomes([Outcome("a", 1, 855), Outcome("b", 0, 900)])
    found = store.matured_since("3", 800.0).matured
    assert found.requests == 3
    assert found.clicks == 1
    assert found.expected == pytest.approx(0.5)
    assert found.log_loss == pytest.approx(-log(0.2) - log(0.9) - log(0.8))


def test_a_request_that_may_still_be_clicked_is_not_counted(store):
    store.add_predictions([predicted("young", FINAL_S + 0.1), predicted("old", FINAL_S)])
    assert store.matured_since("3", 800.0).matured.requests == 1


def test_copies_and_other_versions_are_not_counted(store):
    store.add_predictions([predicted("a", 850, "shadow"), predicted("b", 850, version="4")])
    assert store.matured_since("3", 800.0).matured == Matured()


def test_a_late_click_is_none(store):
    store.add_predictions([predicted("a", 850)])
    store.add_outcomes([Outcome("a", 1, 850 + WINDOW_S + 1)])
    assert store.matured_since("3", 800.0).matured.clicks == 0


def test_each_request_is_counted_once_though_it_takes_several_steps(place):
    with EventStore(place, WINDOW_S, lambda: 10_000.0) as store:
        store.add_predictions([predicted(f"r{time_s}", float(time_s)) for time_s in range(9_700, 9_900, 10)])
        since_s, seen = 8_000.0, 0
        for _ in range(20):
            step = store.matured_since("3", since_s)
            assert step.until_s - since_s <= STEP_S
            since_s, seen = step.until_s, seen + step.matured.requests
        assert (since_s, seen) == (9_900.0, 20)
        assert store.matured_since("3", since_s).matured == Matured()
