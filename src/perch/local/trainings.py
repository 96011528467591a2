"""Trains on this machine: each run is a process beside the platform, `perch workflow run retrain`.

The last run is written down, so that a platform that starts again knows which runs there have been. Processes die with
the platform: a run that it leaves behind was broken off.
"""

import fcntl
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from perch.core.freshness_types import Ended
from perch.errors import PlatformError
from perch.local.processes import Child

RECORD: Final = "retraining.json"


def retraining(declaration: Path, folder: Path, reason: str) -> list[str]:
    """The command that trains and releases: the verb that a person would use."""
    perch = [sys.executable, "-c", "from perch.cli import main; main()"]
    where = ["--file", str(declaration), "--state", str(folder)]
    return [*perch, "workflow", "run", "retrain", *where, "--reason", reason]


@dataclass(frozen=True, slots=True)
class _Run:
    name: str
    began_s: float
    ended: Ended | None = None


class LocalTrainings:
    """Implements `Trainings` over processes of this machine."""

    def __init__(
        self, folder: Path, command: Callable[[str], Sequence[str]], clock: Callable[[], float] = time.time
    ) -> None:
        """Go on where the last platform of this folder stopped.

        Args:
            folder: Of the platform: for the record, the log, and the runs of others.
            command: What runs, for a reason.
            clock: Seconds since the epoch.

        Raises:
            PlatformError: the record is not what was written.
        """
        self._folder = folder
        self._command = command
        self._clock = clock
        self._child: Child | None = None
        self._run = self._read()
        if self._run is not None and self._run.ended is None:
            self._end(self._run, succeeded=False, message="it was broken off when the platform ended")

    async def start(self, name: str, reason: str) -> None:
        """See `Trainings.start`."""
        if self._run is not None and self._run.name == name:
            return
        log = self._folder / "log" / "retraining.log"
        try:
            self._child = Child(f"Run {name}", self._command(reason), log)
        except OSError as error:
            raise PlatformError(f"Run {name} cannot be started ({error.strerror}); it is tried again.") from None
        self._keep(_Run(name, self._clock()))

    async def in_progress(self) -> str | None:
        """See `Trainings.in_progress`."""
        self._look()
        if self._child is not None and self._run is not None:
            return self._run.name
        return next((lock.parent.name for lock in self._locks() if _is_held(lock)), None)

    async def last(self) -> Ended | None:
        """See `Trainings.last`; of the runs that others began, nothing is known."""
        self._look()
        return self._run.ended if self._run is not None else None

    async def close(self) -> None:
        """End the run that is in progress."""
        if self._child is not None:
            await self._child.stop()

    def _look(self) -> None:
        """Take the end of the process in."""
        if self._child is None or self._run is None or self._child.exit_code is None:
            return
        child, self._child = self._child, None
        self._end(self._run, succeeded=child.exit_code == 0, message=child.last_words())

    def _end(self, run: _Run, *, succeeded: bool, message: str) -> None:
        self._keep(replace(run, ended=Ended(run.name, succeeded, run.began_s, self._clock(), message)))

    def _keep(self, run: _Run) -> None:
        self._run = run
        draft = self._folder / f".{RECORD}"
        draft.write_text(json.dumps(asdict(run)), encoding="utf-8")
        draft.replace(self._folder / RECORD)

    def _read(self) -> _Run | None:
        path = self._folder / RECORD
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            return _Run(told["name"], told["began_s"], Ended(**told["ended"]) if told["ended"] else None)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise PlatformError(f"{path} does not say which run was the last ({error}). Remove it.") from None

    def _locks(self) -> list[Path]:
        """The locks that runs hold as long as they last, see `perch.workflows.local.memory`."""
        return sorted(self._folder.glob("workflows/retrain-*/lock"))


def _is_held(lock: Path) -> bool:
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
