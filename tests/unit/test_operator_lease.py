"""One operator writes at a time, whatever the clocks of the others say and however late their requests come."""

import asyncio

import httpx2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fake_cluster import FakeCluster, RefusedError
from perch.errors import PlatformError
from perch.operator import lease as lease_module
from perch.operator.lease import LASTS_S, TRUSTED_S, Lease


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def cluster():
    return FakeCluster()


@pytest.fixture
def clock():
    return Clock()


def leases(cluster, clock, holders="ab"):
    return [Lease(cluster.client, "perch", holder, clock) for holder in holders]


def asks(lease, clock):
    """One round of `Lease.keep`."""

    async def once():
        keeping = asyncio.create_task(lease.keep())
        await settled()
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    asyncio.run(once())
    return lease.held


async def settled():
    """Whoever can go on has."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_the_first_who_asks_holds_it_and_the_second_waits(cluster, clock):
    first, second = leases(cluster, clock)
    assert not first.held
    assert (asks(first, clock), asks(second, clock)) == (True, False)
    with pytest.raises(PlatformError, match="does not hold the lease"):
        second.check()
    first.check()


def test_who_cannot_renew_stops_before_another_may_begin(cluster, clock):
    first, second = leases(cluster, clock)
    asks(first, clock)
    asks(second, clock)
    held = []
    for _ in range(2 * LASTS_S):
        clock.now_s += 1
        held.append((first.held, asks(second, clock)))
    assert (True, True) not in held
    assert held[-1] == (False, True)
    assert held.index((False, False)) < held.index((False, True))


def test_who_sees_that_another_holds_it_stops_at_once(cluster, clock):
    (lease,) = leases(cluster, clock, "a")
    asks(lease, clock)
    found = cluster.get("leases", "perch-operator", namespace="perch")
    cluster.put("leases", found | {"spec": found["spec"] | {"holderIdentity": "b"}}, namespace="perch")
    clock.now_s += 1
    assert not asks(lease, clock)


def test_a_renewed_lease_is_never_taken(cluster, clock):
    first, second = leases(cluster, clock)
    for _ in range(10 * LASTS_S):
        clock.now_s += 1
        assert asks(first, clock)
        assert not asks(second, clock)


def test_without_the_api_server_the_holder_goes_on_for_as_long_as_it_may_be_sure(cluster, clock):
    (lease,) = leases(cluster, clock, "a")
    asks(lease, clock)
    cluster.is_away = True
    clock.now_s = TRUSTED_S - 0.1
    assert asks(lease, clock)
    clock.now_s = TRUSTED_S
    assert not asks(lease, clock)


def test_an_answer_that_is_no_lease_costs_a_try_and_not_the_next(cluster, clock, caplog):
    def refuse():
        raise RefusedError(500, "InternalError", "etcd is busy")

    (lease,) = leases(cluster, clock, "a")
    cluster.interrupt("POST", refuse)
    assert not asks(lease, clock)
    assert "refuses to renew the operator's lease: etcd is busy" in caplog.text
    assert asks(lease, clock)


@pytest.mark.parametrize("verb", ["POST", "PUT"])
def test_of_two_who_ask_at_once_one_is_refused(cluster, clock, verb):
    first, second, third = leases(cluster, clock, "abc")
    if verb == "PUT":  # the lease is there, and free
        asks(third, clock)
        asyncio.run(third.give_back())
    cluster.interrupt(verb, lambda: cluster.put("leases", _written_by("b"), namespace="perch"))
    assert not asks(first, clock)
    assert asks(second, clock)


def _written_by(holder):
    return {"metadata": {"name": "perch-operator"}, "spec": {"holderIdentity": holder, "leaseDurationSeconds": 10}}


def test_who_gives_it_back_stops_and_the_other_has_it_at_once(cluster, clock):
    first, second = leases(cluster, clock)
    asks(first, clock)
    assert not asks(second, clock)
    asyncio.run(first.give_back())
    assert not first.held
    assert asks(second, clock)


def test_who_has_lost_it_gives_nothing_back(cluster, clock):
    first, second = leases(cluster, clock)
    asks(first, clock)
    asks(second, clock)
    clock.now_s += LASTS_S + 1
    assert asks(second, clock)
    asyncio.run(first.give_back())
    clock.now_s += 1
    assert not asks(first, clock)
    assert second.held


def test_who_cannot_tell_that_it_gives_it_back_has_stopped_all_the_same(cluster, clock):
    (lease,) = leases(cluster, clock, "a")
    asks(lease, clock)
    cluster.is_away = True
    asyncio.run(lease.give_back())
    assert not lease.held


def renew(cluster):
    """Its holder has renewed a lease."""
    found = cluster.get("leases", "perch-operator", namespace="perch")
    cluster.put("leases", found | {"spec": found["spec"] | {"renewTime": "2026-01-01T00:00:00.000000Z"}}, "perch")


def test_whether_the_perch_of_another_namespace_lives_is_seen_from_its_renewals(cluster, clock, monkeypatch):
    monkeypatch.setattr(lease_module, "LASTS_S", 0)
    monkeypatch.setattr(lease_module, "RENEW_S", 0.0)
    first, second = leases(cluster, clock)
    assert not asyncio.run(second.is_kept("perch"))
    asks(first, clock)
    assert not asyncio.run(second.is_kept("perch"))
    cluster.interrupt("GET", lambda: renew(cluster), after=True)
    assert asyncio.run(second.is_kept("perch"))


class Slow(httpx2.AsyncBaseTransport):
    """A line on which each request, and each answer, waits to be let through."""

    def __init__(self, transport):
        self._transport = transport
        self._waiting = asyncio.Semaphore(0)

    async def handle_async_request(self, request):
        await self._waiting.acquire()
        response = await self._transport.handle_async_request(request)
        await self._waiting.acquire()
        return response

    def let_through(self):
        self._waiting.release()


async def at_each_step(steps):
    """Have two operators keep one lease; how many hold it after each step.

    A step is who of them gets requests and answers through, after how many seconds, and how many of them.
    """
    cluster, clock, held = FakeCluster(), Clock(), [0]
    lines = {holder: Slow(cluster.transport) for holder in "ab"}
    both = [Lease(cluster.connect(line), "perch", holder, clock) for holder, line in lines.items()]
    keeping = [asyncio.create_task(lease.keep()) for lease in both]
    await settled()
    for holder, passed_s, count in steps:
        clock.now_s += passed_s
        for _ in range(count):
            lines[holder].let_through()
            await settled()
            held.append(sum(lease.held for lease in both))
    for task in keeping:
        task.cancel()
    await asyncio.gather(*keeping, return_exceptions=True)
    return held


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([0, 5, 6]), st.sampled_from([2, 4])), max_size=25))
# The first look of b is on its way for 5 s: it sees what a has written meanwhile, not what was there when it asked.
@example([("a", 0, 4), ("a", 5, 4), ("a", 0, 4), ("b", 0, 2), ("b", 6, 6)])
def test_two_never_hold_it_at_once_in_whatever_order_and_however_late_things_arrive(steps):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lease_module, "RENEW_S", 0.0)
        assert max(asyncio.run(at_each_step(steps))) <= 1


def test_whoever_gets_through_takes_it_when_the_other_does_not(monkeypatch):
    monkeypatch.setattr(lease_module, "RENEW_S", 0.0)
    held = asyncio.run(at_each_step([("a", 0, 4), ("b", 0, 2), ("b", 11, 2), ("b", 0, 4)]))
    assert (held[4], held[6], held[7], held[-1]) == (1, 1, 0, 1)
