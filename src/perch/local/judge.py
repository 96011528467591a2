"""The external judge of one machine: a process that runs while a rollout wants it, for it holds 300 MB."""

import sys
from importlib.util import find_spec
from pathlib import Path

from perch.local.processes import Child


def is_installed() -> bool:
    """Whether there is an Evidently to judge by."""
    return find_spec("evidently") is not None


class LocalJudge:
    """Starts and stops it."""

    def __init__(self, collector_url: str, token_file: Path, log: Path, *, model: str, registry: str | None) -> None:
        """Make one that does not run yet.

        Args:
            collector_url: Who knows what is to be judged.
            token_file: Opens the collector for the judge.
            log: Where it writes what it finds.
            model: What is served.
            registry: MLflow's address, which keeps the reports; `None`: they are not kept.
        """
        self._command = (
            *(sys.executable, "-m", "perch.judge"),
            *("--collector", collector_url, "--token-file", str(token_file)),
            *(("--registry", registry, "--model", model) if registry else ()),
        )
        self._log = log
        self._child: Child | None = None

    async def follow(self, *, is_wanted: bool) -> str | None:
        """Run exactly while it is wanted; a sentence where it had ended by itself and is started again."""
        if not is_wanted:
            await self.stop()
            return None
        if self._child is None:
            self._child = Child("The external judge", self._command, self._log)
        return self._child.revive()

    async def stop(self) -> None:
        """End it, if it runs."""
        if self._child is not None:
            child, self._child = self._child, None
            await child.stop()
