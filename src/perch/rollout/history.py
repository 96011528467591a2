"""The history of a service: its rollouts, as their ledgers tell them.

Nothing else remembers an ended rollout, so removing the folder of one forgets it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from perch.core import Cause
from perch.core.types import Action
from perch.errors import RolloutError, UsageError
from perch.rollout.attempt import Served
from perch.rollout.ledger import Record, read_ends


@dataclass(frozen=True, slots=True)
class Summary:
    """One rollout in a few words."""

    name: str
    version: int
    champion: int
    """The version that it was to replace."""

    retry_of: str | None
    """The rollout that it repeats."""

    began_s: float
    """Seconds since the epoch."""

    last_s: float
    """Its last tick, in seconds since the epoch."""

    outcome: Action | None
    """How it ended; `None`: it runs, or was broken off without an end."""

    cause: Cause | None
    sentence: str
    """Why it stands as it does."""

    served: Served

    @classmethod
    def of(cls, record: Record) -> Self:
        """The summary of a record, of which the two ends are enough."""
        attempt, last = record.attempt, record.ticks[-1] if record.ticks else None
        return cls(
            name=attempt.name,
            version=attempt.version,
            champion=attempt.champion,
            retry_of=attempt.retry_of,
            began_s=attempt.state.started_s,
            last_s=last.observation.now_s if last else attempt.state.started_s,
            outcome=last.outcome if last else None,
            cause=last.cause if last else None,
            sentence=last.decision.sentence if last else "No tick was taken yet.",
            served=last.served if last else Served(),
        )

    @property
    def came_home(self) -> bool:
        """Whether it was rolled back or fell back by itself: what a person asked for is no setback."""
        return self.outcome in {Action.ROLL_BACK, Action.FALL_BACK} and self.cause is not Cause.PERSON


@dataclass(frozen=True, slots=True)
class History:
    """The rollouts of a service."""

    rollouts: tuple[Summary, ...]
    """Newest first."""

    unreadable: tuple[str, ...]
    """Why the others cannot be told, in a sentence each."""


def history(folder: Path) -> History:
    """All rollouts that are recorded in a service's folder."""
    found, unreadable = [], []
    for path in sorted(folder.glob("rollouts/*/ledger.jsonl")):
        try:
            found.append(Summary.of(read_ends(path)))
        except (RolloutError, OSError) as error:
            unreadable.append(str(error))
    found.sort(key=lambda summary: summary.began_s, reverse=True)
    return History(tuple(found), tuple(unreadable))


def ledger_file(folder: Path, name: str) -> Path:
    """Where the ledger of a rollout stands."""
    return folder / "rollouts" / name / "ledger.jsonl"


def find_ledger(folder: Path, name: str | None) -> Path:
    """The ledger of a rollout, of the last one without a name.

    Raises:
        UsageError: there is no such rollout, or none at all.
        RolloutError: there are ledgers, and none can be read.
    """
    if name is not None and ledger_file(folder, name).is_file():
        return ledger_file(folder, name)
    past = history(folder)
    names = [rollout.name for rollout in past.rollouts]
    if name is None and not names and past.unreadable:
        raise RolloutError(" ".join(past.unreadable))
    if not names:
        raise UsageError(f"No rollout has been recorded in {folder}. Begin one with `perch rollout start`.")
    if name is not None:
        raise UsageError(f"There is no rollout {name}. Recorded, oldest first: {', '.join(reversed(names))}.")
    return ledger_file(folder, names[0])


def next_name(folder: Path, version: int) -> str:
    """Name of the next attempt at a version, such as `v3-2`: never one of those that are recorded."""
    numbers = (path.name.rpartition("-")[2] for path in folder.glob(f"rollouts/v{version}-*"))
    return f"v{version}-{max((int(number) for number in numbers if number.isdecimal()), default=0) + 1}"


def last_without_promotion(rollouts: Sequence[Summary]) -> Summary:
    """The last rollout that did not end in promotion, of rollouts newest first.

    Raises:
        RolloutError: there is none.
    """
    for rollout in rollouts:
        if rollout.outcome is not Action.PROMOTE:
            return rollout
    raise RolloutError("There is nothing to retry: no rollout that is recorded ended without promotion.")
