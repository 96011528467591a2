"""The hourly inspection on one machine: a process that looks at what the champion was asked, and ends.

It holds 300 MB while it looks, and nothing in between. The first one comes after an hour, when there is an hour to look
at.
"""

import asyncio
import sys
from pathlib import Path

from perch.local.processes import Child
from perch.signals.inspection import WINDOW_S

_LOOK_S = 1.0


class LocalInspection:
    """Starts it, and waits for its end, again and again."""

    def __init__(
        self,
        collector_url: str,
        token_file: Path,
        log: Path,
        *,
        model: str,
        registry: str,
        interval_s: float = WINDOW_S,
    ) -> None:
        """Make one that has not begun.

        Args:
            collector_url: Hands out the requests.
            token_file: Opens the collector for the judge.
            log: Where it writes what it finds, and why it finds nothing.
            model: What is served.
            registry: MLflow's address, which has the champion and keeps the reports.
            interval_s: Time between two of them, in seconds.
        """
        self._command = (
            *(sys.executable, "-m", "perch.judge.inspect"),
            *("--collector", collector_url, "--token-file", str(token_file)),
            *("--registry", registry, "--model", model),
        )
        self._log = log
        self._interval_s = interval_s

    async def keep(self) -> None:
        """Inspect once in each interval, for ever."""
        while True:
            await asyncio.sleep(self._interval_s)
            child = Child("The inspection", self._command, self._log)
            try:
                while child.exit_code is None:  # noqa: ASYNC110  a process sets no event
                    await asyncio.sleep(_LOOK_S)
            finally:
                await child.stop()
