"""What an inspection says of a champion that is read otherwise than training read it, with nobody released."""

import asyncio
import time
from pathlib import Path

from perch.adapters.events.inspecting import InspectingClient
from perch.demo.breaking import break_version
from perch.demo.faults import LOST
from perch.errors import PlatformError
from perch.judge.inspect import inspect, sentences
from perch.local.platform import Platform
from perch.local.store import open_registry

_BROKEN_S = 12.0
_LAG_S = 3.0
"""Time that events may be on their way."""


async def inspect_broken(running: Platform, folder: Path, model: str) -> list[str]:
    """Let the champion lose the site of its requests for some seconds, and inspect what it was asked.

    Raises:
        PlatformError: it cannot be broken, or the inspection does not name what is lost.
        PerchError: it cannot be inspected.
    """
    champion = running.service.champion
    await break_version(running, champion, LOST)
    await asyncio.sleep(_BROKEN_S)
    await break_version(running, champion, {})
    await asyncio.sleep(_LAG_S)
    said = await asyncio.to_thread(_inspected, running, folder, model)
    if not any(sentence.startswith("site_log_odds is skewed") for sentence in said):
        raise PlatformError(f"The inspection did not see that the site was lost. It said: {' '.join(said)}")
    return said


def _inspected(running: Platform, folder: Path, model: str) -> list[str]:
    with InspectingClient(running.collector_url, running.judge_token) as collector:
        return [*sentences(inspect(collector, open_registry(folder), model, time.time()))]
