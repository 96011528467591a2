"""Breaks versions on purpose while they run."""

from collections.abc import Mapping
from typing import Any

import httpx

from perch.errors import PlatformError
from perch.local.platform import Platform


async def break_version(running: Platform, version: int, faults: Mapping[str, Any]) -> None:
    """Set the fault switches of a version; without faults it is mended. Raises `PlatformError` where they cannot be."""
    headers = {"authorization": f"Bearer {running.token}"}
    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            answer = await client.put(running.fault_url(version), json=dict(faults), headers=headers)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise PlatformError(f"Version {version} cannot be broken on purpose: {error}.") from error
