"""Proves by real requests that a split happens, before anybody relies on it.

That an API accepts a weight, and even reports it, says nothing about where requests go. What tells is which version
answers them. So requests are sent through the route until it is certain one way or the other: refuted, as soon as a
version cannot have the share that it was given; proven, as soon as each has it within a factor of `WITHIN`. Both by
bounds that hold at every look (`perch.core.bounds`), so it may be looked at after each request.

The requests are empty questions to a model that is not there: a serving process refuses them, names its version, and
counts them as `invalid`, which is held against nobody. Users are split likewise meanwhile, so give what is new a small
share. The smaller it is, the more requests it takes: about 150 at 50 %, 650 at 10 %, 7,000 at 1 %.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import httpx

from perch.adapters.traffic.port import TrafficRouter
from perch.adapters.traffic.shares import WHOLE, ten_thousandths
from perch.core.bounds import lower_bound, upper_bound
from perch.core.types import Arm, Weights
from perch.errors import PlatformError
from perch.signals.names import VERSION_HEADER

ERROR: Final = 1e-4
"""Probability, for each version, to refuse a split that happens, and to let one pass that is further off than
`WITHIN`."""

WITHIN: Final = 2.0
"""A version may get this many times less or more than its share. A finer look is the sample-ratio test's, later."""

MOST_REQUESTS: Final = 20_000
"""After as many it is given up, undecided."""

NOBODY: Final = "nobody"
"""Who answered, when no version did."""

QUESTION: Final = "/v2/models/-/infer"
"""Of a model that no serving process has."""

_BATCH: Final = 50
_TIMEOUT_S: Final = 5.0

Ask = Callable[[int], Counter[str]]
"""Sends as many requests through the route, and returns which versions answered, and how often."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Asks through a gateway, as a client does; is an `Ask`."""

    url: str
    """Of the gateway."""

    hostname: str
    """Host that clients name in their requests."""

    def __call__(self, requests: int) -> Counter[str]:
        """Send them one after another over a connection of its own: proxies differ, connections stay with one."""
        headers = {"host": self.hostname, "user-agent": "perch-probe"}
        with httpx.Client(base_url=self.url, headers=headers, timeout=_TIMEOUT_S, trust_env=False) as client:
            return Counter(_who_answers(client) for _ in range(requests))


def _who_answers(client: httpx.Client) -> str:
    try:
        return str(client.post(QUESTION).headers.get(VERSION_HEADER, NOBODY))
    except httpx.HTTPError:
        return NOBODY


def probe(ask: Ask, shares: Mapping[str, float]) -> Counter[str]:
    """Send requests until it is proven that each version gets its share; which versions answered, and how often.

    Args:
        ask: Sends requests through the route.
        shares: What each version should get of them, adding up to 1.

    Raises:
        PlatformError: The split does not happen, some requests are answered by no version, or `MOST_REQUESTS` were too
            few to tell.
    """
    seen: Counter[str] = Counter()
    while seen.total() < MOST_REQUESTS:
        seen += ask(_BATCH)
        named = shares.keys() | seen.keys()
        if any(_is_refuted(seen[one], seen.total(), shares.get(one, 0.0)) for one in named):
            raise PlatformError(
                f"The split does not happen. {_account(shares, seen)} What routes here does not follow its weights: "
                "split by the HTTPRoute that Perch writes, or mend what stands between it and the pods."
            )
        if all(_is_within(seen[one], seen.total(), share) for one, share in shares.items()):
            return seen
    raise PlatformError(f"Whether the split happens cannot be told. {_account(shares, seen)} Probe a larger share.")


def _is_refuted(hits: int, requests: int, share: float) -> bool:
    return not lower_bound(hits, requests, ERROR) <= share <= upper_bound(hits, requests, ERROR)


def _is_within(hits: int, requests: int, share: float) -> bool:
    least, most = lower_bound(hits, requests, ERROR), upper_bound(hits, requests, ERROR)
    return share / WITHIN <= least and most <= min(share * WITHIN, 1.0)


def _account(shares: Mapping[str, float], seen: Counter[str]) -> str:
    asked = ", ".join(f"{100 * share:g} % for version {one}" for one, share in sorted(shares.items()))
    answered = ", ".join(f"{one} {count}" for one, count in sorted(seen.items()))
    return f"Asked for was {asked}; of {seen.total()} requests answered {answered}."


class ProbedRouter:
    """A `TrafficRouter` in front of another, whose first split has to be seen in the answers. Its calls block."""

    def __init__(self, router: TrafficRouter, ask: Ask, version_at: Callable[[str], str], *, settling_s: float) -> None:
        """Make a router.

        Args:
            router: Writes the weights.
            ask: Sends requests through its route.
            version_at: The version behind an endpoint, as its answers name it.
            settling_s: How long a change may take until it is in force, in seconds.
        """
        self._router = router
        self._ask = ask
        self._version_at = version_at
        self._settling_s = settling_s
        self._is_proven = False
        self._before: tuple[Mapping[Arm, str], Weights] | None = None

    def route(self, endpoints: Mapping[Arm, str], weights: Weights) -> None:
        """See `TrafficRouter.route`. The first split over several versions takes until it is proven.

        Raises:
            PlatformError: See `TrafficRouter.route`; or the split does not happen, and the weights are as they were.
        """
        self._router.route(endpoints, weights)
        if not self._is_proven:
            self._prove(endpoints)
        self._before = (dict(endpoints), weights)

    def weights(self) -> Weights:
        """See `TrafficRouter.weights`."""
        return self._router.weights()

    def _prove(self, endpoints: Mapping[Arm, str]) -> None:
        shares = self._shares(endpoints)
        if len(shares) < 2:
            return
        time.sleep(self._settling_s)
        try:
            probe(self._ask, shares)
        except PlatformError:
            self._router.route(*(self._before or (endpoints, Weights())))
            raise
        self._is_proven = True

    def _shares(self, endpoints: Mapping[Arm, str]) -> dict[str, float]:
        """What each version should get by the weights as written, which may have been rounded."""
        units: Counter[str] = Counter()
        for arm, share in ten_thousandths(self._router.weights()).items():
            if share:
                units[self._version_at(endpoints[arm])] += share
        return {version: share / WHOLE for version, share in units.items()}
