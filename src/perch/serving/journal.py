"""Keeps events on disk until the collector has them, so that a process that is killed loses none.

What is written outlives the process, and not the machine: waiting for the disk would cost a request a hundred times as
much. Events leave in the order in which they came, so files are deleted whole, the oldest first.
"""

import logging
import os
import time
from collections import deque
from pathlib import Path
from typing import Final

import msgspec

from perch.signals.events import Prediction

_EVENTS_A_FILE: Final = 1_000
_SUFFIX: Final = ".jsonl"

_log = logging.getLogger(__name__)
_event = msgspec.json.Decoder(Prediction)


class Journal:
    """The events of one process that are not acknowledged yet, and those that its forerunners left."""

    def __init__(self, folder: Path) -> None:
        """Make a journal.

        Args:
            folder: Where its files go; of one process at a time. Made when it is missing.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._files: deque[tuple[Path, int]] = deque()
        """All files, the oldest first, with the number of their events."""

        self._acknowledged = 0
        """Events of the oldest file that have left."""

        self._open: int | None = None

    def left_behind(self) -> list[bytes]:
        """The events that earlier processes left, in their order; to be asked once, before the first one is added."""
        events = []
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            found = [line for line in path.read_bytes().splitlines() if _is_whole(line)]
            self._files.append((path, len(found)))
            events += found
        return events

    def add(self, event: bytes) -> None:
        """Keep an event, as JSON without a line break."""
        if self._open is None or self._files[-1][1] >= _EVENTS_A_FILE:
            self._begin_file()
        assert self._open is not None, "a file was begun"
        os.write(self._open, event + b"\n")
        path, events = self._files[-1]
        self._files[-1] = (path, events + 1)

    def acknowledge(self, events: int) -> None:
        """The oldest events have arrived, or are given up."""
        self._acknowledged += events
        while self._files and self._acknowledged >= self._files[0][1] and (len(self._files) > 1 or self._open is None):
            path, held = self._files.popleft()
            self._acknowledged -= held
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the last file, and delete what holds nothing that is still to be told."""
        if self._open is not None:
            os.close(self._open)
            self._open = None
        self.acknowledge(0)

    def _begin_file(self) -> None:
        if self._open is not None:
            os.close(self._open)
        path = self._folder / f"{time.time_ns():020}{_SUFFIX}"
        self._open = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._files.append((path, 0))


def _is_whole(line: bytes) -> bool:
    """Whether a line is an event: the last one may have been cut off."""
    try:
        _event.decode(line)
    except msgspec.DecodeError:
        return False
    return True
