"""Reads the counts straight from the serving processes, in Prometheus' text format.

The engine does not wait for a monitoring server: scraping, rule evaluation and grouping take it a minute or more.
The parser reads the four families that make up `Counts` and skips the rest; `prometheus_client`'s needs 10 ms for
one process, this one 1 ms. A call by aiohttp takes a quarter of the processor time of one by httpx.

Whoever may make pods can show any page. So a page is read up to a limit, as it comes, and in time that grows with its
length; and what it says counts only when it is a number that can be counted to.
"""

import asyncio
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from http import HTTPStatus
from itertools import pairwise
from typing import Final, TypeVar

import aiohttp

from perch.core.types import Counts
from perch.signals import names
from perch.signals.inputs import Inputs, parse_inputs

TIMEOUT_S = 0.8

PAGE_LIMIT_BYTES: Final = 1 << 20
"""Of a page; one of ours takes a few kilobytes for each arm."""

_MOST: Final = 2**53
"""Above it, a floating-point number skips some."""

T = TypeVar("T")

_log = logging.getLogger(__name__)

_SAMPLE = re.compile(
    rf"^(?P<name>{names.STARTED}_total|{names.FINISHED}_total|{names.DURATION}_bucket|{names.SCORE}_bucket)"
    r'\{[^}\n]*?arm="(?P<arm>[^"\n]*)"(?:,(?:outcome|le)="(?P<of>[^"\n]*)")?\} (?P<value>\S+)',
    re.MULTILINE,
)


class ScrapeSource:
    """Implements `MetricsSource` and `InputSource` over the pages of serving processes."""

    def __init__(self, endpoints: Callable[[], Mapping[str, str]], timeout_s: float = TIMEOUT_S) -> None:
        """Make a source of counts.

        Args:
            endpoints: Tells the address (`host:port`) of each source that runs now.
            timeout_s: A process that takes longer has not answered, in seconds.
        """
        self._endpoints = endpoints
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def read(self) -> Mapping[str, Mapping[str, Counts] | None]:
        """See `MetricsSource.read`. All processes are asked at once."""
        return await self._ask_all("/metrics", parse)

    async def inputs(self) -> Mapping[str, Inputs | None]:
        """See `InputSource.inputs`. All processes are asked at once."""
        return await self._ask_all(names.INPUTS_PATH, parse_inputs)

    async def _ask_all(self, path: str, read: Callable[[str], T]) -> Mapping[str, T | None]:
        if self._session is None:  # it belongs to the loop that it is made in
            timeout = aiohttp.ClientTimeout(total=self._timeout_s)
            self._session = aiohttp.ClientSession(timeout=timeout, auto_decompress=False)
        endpoints = self._endpoints()
        found = await asyncio.gather(*(self._ask(address, path, read) for address in endpoints.values()))
        return dict(zip(endpoints, found, strict=True))

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _ask(self, address: str, path: str, read: Callable[[str], T]) -> T | None:
        assert self._session is not None
        try:
            async with self._session.get(f"http://{address}{path}", allow_redirects=False) as response:
                if response.status == HTTPStatus.NOT_FOUND and path == names.INPUTS_PATH:
                    return None  # a serving image of an earlier Perch has no such page
                response.raise_for_status()
                return read((await _content(response)).decode())
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            _log.warning("%s gave no counts: %s", address, str(error) or f"no answer within {self._timeout_s:g} s")
            return None


async def _content(response: aiohttp.ClientResponse) -> bytes:
    """The page; raises `ValueError` when it goes on after the limit."""
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > PAGE_LIMIT_BYTES:
            raise ValueError(f"its page is longer than {PAGE_LIMIT_BYTES:,} bytes")
    return bytes(content)


def parse(text: str) -> Mapping[str, Counts]:
    """The totals by arm in what a serving process exposes.

    Raises:
        ValueError: there are none, or they are not complete.
    """
    series: defaultdict[str, defaultdict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for name, arm, of, value in _SAMPLE.findall(text):
        series[arm][name][of] = _count(value)
    if not series:
        raise ValueError("this is not the page of a serving process")
    return {arm: _counts(families) for arm, families in series.items()}


def _count(value: str) -> int:
    count = float(value)
    if not 0 <= count <= _MOST:  # nor is it NaN
        raise ValueError(f"nobody counts {value}")
    return int(count)


def _counts(families: Mapping[str, Mapping[str, int]]) -> Counts:
    try:
        finished = families[f"{names.FINISHED}_total"]
        return Counts(
            requests=families[f"{names.STARTED}_total"][""],
            failed=sum(finished[outcome] for outcome in names.FAILED_OUTCOMES),
            latency=_bins(families[f"{names.DURATION}_bucket"]),
            scores=_bins(families[f"{names.SCORE}_bucket"]),
        )
    except KeyError as error:
        raise ValueError(f"the page lacks {error}") from None


def _bins(cumulative: Mapping[str, int]) -> tuple[int, ...]:
    counts = [count for _, count in sorted((float(edge), count) for edge, count in cumulative.items())]
    if counts != sorted(counts):
        raise ValueError("the buckets of a histogram do not contain each other")
    return tuple(high - low for low, high in pairwise((0, *counts)))
