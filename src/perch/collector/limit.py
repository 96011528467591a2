"""A token bucket for each client, so that a flood from one leaves room for the others."""

import time
from collections.abc import Callable, Hashable
from math import ceil
from typing import Final

BYTES_PER_S: Final = 4_000_000.0
"""Of one client: about 20,000 events without features."""

BURST_S: Final = 10.0
_MOST_CLIENTS: Final = 10_000


class TooManyError(Exception):
    """A client has sent more than its share."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"These are more events than one client may send; send them again in {retry_after_s} s.")
        self.retry_after_s = retry_after_s


class Limit:
    """What each client may send: bytes a second, and ten seconds' worth at once.

    A client is let in while its bucket is not empty, and pays when it is known how much it sent; so its last request
    may leave it in debt.
    """

    def __init__(self, bytes_per_s: float = BYTES_PER_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = bytes_per_s
        self._full = bytes_per_s * BURST_S
        self._clock = clock
        self._buckets: dict[Hashable, tuple[float, float]] = {}
        """Of each client: bytes that were left, and when."""

    def check(self, client: Hashable) -> None:
        """Let a client in, or raise `TooManyError`."""
        left = self._left(client)
        if left <= 0:
            raise TooManyError(ceil((1 - left) / self._rate))

    def charge(self, client: Hashable, sent_bytes: int) -> None:
        """Take bytes from a client's bucket."""
        if len(self._buckets) >= _MOST_CLIENTS:
            self._buckets = {one: bucket for one, bucket in self._buckets.items() if self._left(one) < self._full}
        self._buckets[client] = (self._left(client) - sent_bytes, self._clock())

    def _left(self, client: Hashable) -> float:
        left, at_s = self._buckets.get(client, (self._full, 0.0))
        return min(self._full, left + (self._clock() - at_s) * self._rate)
