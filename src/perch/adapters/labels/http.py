"""Reads labels from the collector."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import TypeVar

import httpx
import msgspec

from perch.signals.labels import Arrivals, Comparison, Cursor
from perch.signals.matured import MaturedSince

TIMEOUT_S = 0.8

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

_arrivals = msgspec.json.Decoder(Arrivals)
_matured = msgspec.json.Decoder(MaturedSince)


class HttpLabels:
    """Implements `LabelSource` over `GET /v1/labels` of a collector."""

    def __init__(self, collector: str, token: str, timeout_s: float = TIMEOUT_S) -> None:
        """Make a source of labels.

        Args:
            collector: The collector's base URL.
            token: The bearer token of its predictions.
            timeout_s: A collector that takes longer has not answered, in seconds.
        """
        self._timeout_s = timeout_s
        headers = {"authorization": f"Bearer {token}"}
        self._client = httpx.AsyncClient(base_url=collector, headers=headers, trust_env=False)

    async def since(self, comparison: Comparison, cursor: Cursor) -> Arrivals | None:
        """See `LabelSource.since`."""
        query = {**asdict(comparison), **asdict(cursor)}
        if not comparison.judged:  # which a collector of an older Perch does not know
            del query["judged"], query["judged_s"]
        return await self._ask("/v1/labels", query, _arrivals)

    async def matured(self, version: int, since_s: float) -> MaturedSince | None:
        """See `LabelSource.matured`."""
        return await self._ask("/v1/matured", {"version": str(version), "since_s": since_s}, _matured)

    async def _ask(self, path: str, query: Mapping[str, str | float], answer: "msgspec.json.Decoder[_T]") -> _T | None:
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._client.get(path, params=query)
            return answer.decode(response.raise_for_status().content)
        except (TimeoutError, httpx.HTTPError, msgspec.MsgspecError) as error:
            _log.warning("No labels came: %s", str(error) or f"no answer within {self._timeout_s:g} s")
            return None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
