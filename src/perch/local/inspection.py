"""The hourly inspection on one machine: a process that looks at what the champion was asked, and ends.

It holds 300 MB while it looks, and nothing in between. The first one comes after an hour, when there is an hour to look
at.
"""

import asyncio
import logging
import sys
from pathlib import Path

from perch.local.processes import Child
from perch.signals.inspection import WINDOW_S

_LOOK_S = 1.0
_LONGEST_S = 1_200.0
"""As in a cluster: what takes longer hangs, and is ended."""

_log = logging.getLogger(__name__)


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
        self._log_file = log
        self._interval_s = interval_s

    async def keep(self) -> None:
        """Inspect once in each interval, for ever; of one that cannot begin, or hangs, is told, and the next comes."""
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                async with asyncio.timeout(_LONGEST_S):
                    await self._inspect()
            except TimeoutError:
                _log.warning("The inspection did not end within %.0f s, and was ended: %s.", _LONGEST_S, self._log_file)
            except OSError as error:
                _log.warning(
                    "The inspection cannot be begun: %s. The next one comes in %.0f s.", error, self._interval_s
                )

    async def _inspect(self) -> None:
        child = Child("The inspection", self._command, self._log_file)
        try:
            while child.exit_code is None:  # noqa: ASYNC110  a process sets no event
                await asyncio.sleep(_LOOK_S)
        finally:
            await child.stop()
