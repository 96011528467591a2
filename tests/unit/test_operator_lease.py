"""One operator writes at a time, whatever the clocks of the others say."""

import asyncio
from types import SimpleNamespace

import httpx2
import pytest
from lightkube.core.exceptions import ApiError

from perch.errors import PlatformError
from perch.operator.lease import LASTS_S, TRUSTED_S, Lease


def refusal(code):
    body = {"kind": "Status", "code": code, "message": "refused", "reason": "x", "status": "Failure"}
    request = httpx2.Request("GET", "https://cluster")
    return ApiError(request=request, response=httpx2.Response(code, json=body, request=request))


class Server:
    """An API server with one Lease, which checks the version of what is replaced."""

    def __init__(self):
        self.lease, self.version, self.is_away = None, 0, False

    async def get(self, *_, **__):
        self._answer()
        if self.lease is None:
            raise refusal(404)
        return self.lease

    async def create(self, lease, **_):
        self._answer()
        if self.lease is not None:
            raise refusal(409)
        self._store(lease)

    async def replace(self, lease, **_):
        self._answer()
        if lease.metadata.resourceVersion != str(self.version):
            raise refusal(409)
        self._store(lease)

    def _answer(self):
        if self.is_away:
            raise httpx2.ConnectError("away")

    def _store(self, lease):
        self.version += 1
        metadata = SimpleNamespace(resourceVersion=str(self.version))
        self.lease = SimpleNamespace(metadata=metadata, spec=lease.spec)


@pytest.fixture
def server():
    return Server()


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


def asks(lease, clock):
    """One round of `Lease.keep`."""

    async def once():
        keeping = asyncio.create_task(lease.keep())
        for _ in range(5):
            await asyncio.sleep(0)
        keeping.cancel()

    asyncio.run(once())
    return lease.held


def test_the_first_who_asks_holds_it_and_the_second_waits(server, clock):
    first, second = (Lease(server, "perch", name, clock) for name in "ab")
    assert not first.held
    assert (asks(first, clock), asks(second, clock)) == (True, False)
    with pytest.raises(PlatformError, match="does not hold the lease"):
        second.check()
    first.check()


def test_who_cannot_renew_stops_before_another_may_begin(server, clock):
    first, second = (Lease(server, "perch", name, clock) for name in "ab")
    asks(first, clock)
    asks(second, clock)
    held = []
    for _ in range(2 * LASTS_S):
        clock.now_s += 1
        held.append((first.held, asks(second, clock)))
    assert (True, True) not in held
    assert held[-1] == (False, True)
    assert held.index((False, False)) < held.index((False, True))


def test_a_renewed_lease_is_never_taken(server, clock):
    first, second = (Lease(server, "perch", name, clock) for name in "ab")
    for _ in range(10 * LASTS_S):
        clock.now_s += 1
        assert asks(first, clock)
        assert not asks(second, clock)


def test_without_the_api_server_the_holder_goes_on_for_as_long_as_it_may_be_sure(server, clock):
    lease = Lease(server, "perch", "a", clock)
    asks(lease, clock)
    server.is_away = True
    clock.now_s = TRUSTED_S - 0.1
    assert asks(lease, clock)
    clock.now_s = TRUSTED_S
    assert not asks(lease, clock)


def test_of_two_who_ask_at_once_one_is_refused(server, clock):
    lease = Lease(server, "perch", "a", clock)
    asks(lease, clock)
    old = server.lease
    asks(Lease(server, "perch", "a", clock), clock)
    server.get = lambda *_, **__: _soon(old)
    assert not asks(Lease(server, "perch", "a", clock), clock)


async def _soon(value):
    return value
