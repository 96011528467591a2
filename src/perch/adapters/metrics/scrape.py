"""Reads the counts straight from the serving processes, in Prometheus' text format.

The engine does not wait for a monitoring server: scraping, rule evaluation and grouping take it a minute or more.
The parser reads the four families that make up `Counts` and skips the rest; `prometheus_client`'s needs 10 ms for
one process, this one 1 ms. A call by aiohttp takes a quarter of the processor time of one by httpx.
"""

import asyncio
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import pairwise

import aiohttp

from perch.core.types import Counts
from perch.signals import names

TIMEOUT_S = 0.8

_log = logging.getLogger(__name__)

_SAMPLE = re.compile(
    rf"^(?P<name>{names.STARTED}_total|{names.FINISHED}_total|{names.DURATION}_bucket|{names.SCORE}_bucket)"
    r'\{[^}]*?arm="(?P<arm>[^"]*)"(?:,(?:outcome|le)="(?P<of>[^"]*)")?\} (?P<value>\S+)',
    re.MULTILINE,
)


class ScrapeSource:
    """Implements `MetricsSource` over the `/metrics` pages of serving processes."""

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
        if self._session is None:  # it belongs to the loop that it is made in
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._timeout_s))
        endpoints = self._endpoints()
        totals = await asyncio.gather(*map(self._scrape, endpoints.values()))
        return dict(zip(endpoints, totals, strict=True))

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _scrape(self, address: str) -> Mapping[str, Counts] | None:
        assert self._session is not None
        try:
            async with self._session.get(f"http://{address}/metrics") as response:
                response.raise_for_status()
                return parse(await response.text())
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            _log.warning("%s gave no counts: %s", address, str(error) or f"no answer within {self._timeout_s:g} s")
            return None


def parse(text: str) -> Mapping[str, Counts]:
    """The totals by arm in what a serving process exposes.

    Raises:
        ValueError: there are none, or they are not complete.
    """
    series: defaultdict[str, defaultdict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for name, arm, of, value in _SAMPLE.findall(text):
        series[arm][name][of] = int(float(value))
    if not series:
        raise ValueError("this is not the page of a serving process")
    return {arm: _counts(families) for arm, families in series.items()}


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
    return tuple(high - low for low, high in pairwise((0, *counts)))
