"""Requests that wait are written together; each is acknowledged after its own commit, and fails by itself."""

import asyncio
import time
from itertools import chain

import pytest

from perch.adapters.events.engine import StoreError, StoreFullError
from perch.collector.gathering import Gathering


class Store:
    """Remembers its transactions; events of `refused` cannot be written."""

    def __init__(self, refused=(), error=StoreError):
        self.transactions, self.refused, self.error = [], set(refused), error

    def write(self, events, parked):
        time.sleep(0.02)
        if self.refused & set(events):
            raise self.error("The event store failed")
        self.transactions.append(list(events))


def gather(store, *requests, patience_s=None):
    """Tell requests at once; gives what became of each."""

    async def run():
        gathering = Gathering(store.write, asyncio.to_thread)
        adding = [asyncio.create_task(gathering.add(events, [])) for events in requests]
        if patience_s is not None:
            await asyncio.sleep(patience_s)
            adding[-1].cancel()
        return await asyncio.gather(*adding, return_exceptions=True)

    return asyncio.run(run())


def test_what_comes_while_a_transaction_runs_goes_into_the_next_one_together():
    store = Store()
    assert gather(store, *([i] for i in range(50))) == [None] * 50
    assert len(store.transactions) <= 2
    assert list(chain.from_iterable(store.transactions)) == list(range(50))


def test_no_transaction_grows_without_bound():
    store = Store()
    gather(store, *([(i, j) for j in range(1_000)] for i in range(9)))
    assert max(map(len, store.transactions)) <= 4_000
    assert sum(map(len, store.transactions)) == 9_000


def test_what_one_request_brings_and_cannot_be_written_fails_that_one_alone():
    store = Store(refused=[3])
    answers = gather(store, *([i] for i in range(6)))
    assert [type(one) for one in answers] == [type(None)] * 3 + [StoreError] + [type(None)] * 2
    assert sorted(chain.from_iterable(store.transactions)) == [0, 1, 2, 4, 5]


def test_a_full_store_refuses_all_at_once():
    store = Store(refused=range(6), error=StoreFullError)
    answers = gather(store, *([i] for i in range(6)))
    assert all(isinstance(one, StoreFullError) for one in answers)
    assert store.transactions == []


def test_who_goes_away_takes_nobody_along():
    store = Store()
    *answers, gone = gather(store, *([i] for i in range(6)), patience_s=0.01)
    assert answers == [None] * 5
    assert isinstance(gone, asyncio.CancelledError)


def test_a_mistake_of_ours_is_no_silence():
    class Broken(Store):
        def write(self, events, parked):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        raise gather(Broken(), [1])[0]
