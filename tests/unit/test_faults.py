"""Each fault does what it says, and nothing when it is off."""

import asyncio
import time

import pytest

from perch.serving.faults import Faults, FaultSwitch, InjectedError, Skew
from perch.serving.scoring import Scores
from perch.workload.schema import Schema

SCHEMA = Schema(numeric=("price",), categorical=("site",), baseline=("site",))
COLUMNS = {"price": [1.0, None], "site": ["a", "b"]}


class Spy:
    def __init__(self):
        self.seen = []

    def __call__(self, columns):
        self.seen.append(columns)
        return Scores([0.1] * len(columns["price"]), {}, {})


@pytest.fixture
def spy():
    return Spy()


def switched(score, **faults):
    switch = FaultSwitch(score, SCHEMA)
    switch.set(Faults(**faults))
    return switch


def disturb(switch, *messages):
    incoming = iter(messages)

    async def receive():
        return {"type": next(incoming)}

    asyncio.run(switch.disturb(receive))


def test_without_faults_the_scoring_function_is_the_models_own(spy):
    switch = FaultSwitch(spy, SCHEMA)
    assert switch.score is spy
    assert not switch.disturbs


def test_mending_gives_the_models_own_function_back(spy):
    switch = switched(spy, constant_score=0.5, latency_ms=1)
    switch.set(Faults())
    assert switch.score is spy
    assert not switch.disturbs


def test_what_the_model_was_given_is_known_where_it_is_not_what_was_asked(spy):
    skewed = switched(spy, skew=Skew("price", "scale", 3.0)).score(COLUMNS)
    assert skewed.given == {"price": [3.0, None], "site": ["a", "b"]} == spy.seen[-1]
    assert switched(spy, constant_score=0.5).score(COLUMNS).given is None


def test_a_constant_score_replaces_every_rows(spy):
    assert switched(spy, constant_score=0.7).score(COLUMNS).probabilities == [0.7, 0.7]


def test_a_scaled_column_is_multiplied_and_missing_values_stay_missing(spy):
    switched(spy, skew=Skew("price", "scale", 100)).score(COLUMNS)
    assert spy.seen == [{"price": [100.0, None], "site": ["a", "b"]}]


def test_a_nulled_column_is_missing_everywhere(spy):
    switched(spy, skew=Skew("site", "null")).score(COLUMNS)
    assert spy.seen == [{"price": [1.0, None], "site": [None, None]}]


def test_a_shuffled_column_takes_values_of_earlier_requests(spy):
    switch = switched(spy, skew=Skew("site", "shuffle"))
    for site in "abcd" * 20:
        switch.score({"price": [1.0], "site": [site]})
    given = list("abcd" * 20)
    got = [columns["site"][0] for columns in spy.seen]
    assert set(got) <= set(given)
    assert got != given


def test_a_skew_leaves_the_callers_columns_as_they_are(spy):
    columns = {"price": [1.0], "site": ["a"]}
    switched(spy, skew=Skew("price", "scale", 2)).score(columns)
    assert columns == {"price": [1.0], "site": ["a"]}


def test_errors_come_at_their_rate(spy):
    switch = switched(spy, error_rate=0.3)
    failed = 0
    for _ in range(1000):
        try:
            disturb_now(switch)
        except InjectedError:
            failed += 1
    assert 200 < failed < 400  # 6.9 standard deviations


def disturb_now(switch):
    """Runs the coroutine to its end without an event loop: it must not wait for anything."""
    with pytest.raises(StopIteration):
        switch.disturb(None).send(None)


def test_added_latency_is_waited_for(spy):
    started = time.perf_counter()
    disturb(switched(spy, latency_ms=30))
    assert time.perf_counter() - started >= 0.029


def test_silence_lasts_until_the_caller_leaves_and_is_an_error(spy):
    with pytest.raises(InjectedError, match="gave up"):
        disturb(switched(spy, silent=True), "http.request", "http.disconnect")
