"""The ledger: everything that a rollout saw, decided and was told, in the order it happened.

One JSON object a line, never changed once written. An entry is of one of three kinds: `begin` (who, the policy, the
first state), `tick` (what was seen, what it proves, what was decided) and `note` (what happened around it). The ticks
hold all that the core was given, so replaying them through it gives the same decisions: see `backtest`.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, Self, TypeVar

from perch.core import Cause, Policy, State
from perch.core.codec import dumps, loads
from perch.core.types import Action, Decision, Observation
from perch.errors import RolloutError
from perch.rollout.attempt import Attempt, Served

T = TypeVar("T")

SCHEMA = 2
"""Layout of the entries. A ledger of another one is refused: its ticks would be read as something they were not."""

_LAST_S = 253_402_300_799.0  # of the year 9999: a later time has no date


@dataclass(frozen=True, slots=True)
class Levels:
    """A number for each test that can end a rollout: where its evidence stands, or where it decides."""

    harm: float
    """That an arm harms."""

    split: float
    """That the canary does not get, or does not answer, its share of the requests."""

    alarm_s: float | None
    """Of the guard, in seconds of mean time between false alarms; as evidence `None` before promotion."""

    @classmethod
    def reached(cls, decision: Decision, state: State) -> Self:
        """The evidence after a decision."""
        return cls(decision.e_value, state.sample_ratio.e_value, state.guard.level if state.guard else None)

    @classmethod
    def needed(cls, policy: Policy) -> Self:
        """The thresholds that a policy sets."""
        return cls(1 / policy.alpha, 1 / policy.sample_ratio_alpha, policy.guard_quiet_s)


@dataclass(frozen=True, slots=True)
class Tick:
    """One tick, as it is written down."""

    observation: Observation
    evidence: Levels
    thresholds: Levels
    decision: Decision
    outcome: Action | None
    """How the rollout has ended by this tick; `None` while it runs."""

    cause: Cause | None
    """Why it ended so."""

    served: Served
    """By the challenger, up to this tick."""

    @classmethod
    def of(cls, observation: Observation, decision: Decision, after: Attempt) -> Self:
        """The tick that led to `decision` and left the rollout as `after`."""
        return cls(
            observation,
            Levels.reached(decision, after.state),
            Levels.needed(after.policy),
            decision,
            after.state.outcome,
            after.state.cause,
            after.served,
        )


class Ledger:
    """The record of one rollout, in one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def begin(self, attempt: Attempt) -> None:
        """Open the record."""
        self._append("begin", attempt=dumps(attempt))

    def tick(self, tick: Tick) -> None:
        """Record what was seen, what it proves and what was decided about it."""
        self._append("tick", **{field.name: dumps(getattr(tick, field.name)) for field in fields(tick)})

    def note(self, now_s: float, sentence: str) -> None:
        """Record what happened around the rollout."""
        self._append("note", now_s=json.dumps(now_s), sentence=json.dumps(sentence))

    def _append(self, kind: str, **values: str) -> None:
        body = "".join(f', "{key}": {value}' for key, value in values.items())
        with self.path.open("ab") as file:
            file.truncate(_whole_bytes(self.path))
            file.write(f'{{"schema": {SCHEMA}, "kind": "{kind}"{body}}}\n'.encode())


def _whole_bytes(path: Path) -> int:
    """Length of a ledger up to its last whole line: what a crash cut short was never an entry."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end and (file.seek(end - 1), file.read(1))[1] != b"\n":
            end -= 1
    return end


def entries(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of a ledger, in order. A last line that a crash cut short is left out.

    Raises:
        RolloutError: a line is no entry, or one of another schema.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n"):
                yield _entry(line, f"line {number}", path)


@dataclass(frozen=True, slots=True)
class Record:
    """A whole ledger, or its two ends."""

    attempt: Attempt
    """The rollout as it began."""

    ticks: tuple[Tick, ...]

    cut_short: bool
    """A crash cut the last line short; it is left out."""


def read(path: Path) -> Record:
    """Read a ledger.

    A tick that a crash or an error cut off before the state was saved was taken again with the same number: then the
    later one counts.

    Raises:
        RolloutError: it holds no rollout or two, a line is no entry, its ticks are out of order, or it has another
            schema.
    """
    attempt: Attempt | None = None
    ticks: dict[int, Tick] = {}
    last = 0
    for entry in entries(path):
        if entry["kind"] == "begin":
            if attempt is not None:
                raise damaged(path, "it tells a second time how a rollout began")
            attempt = _attempt(entry, path)
        elif entry["kind"] == "tick":
            tick = _tick(entry, path)
            if tick.observation.tick < last:
                raise damaged(path, f"tick {tick.observation.tick} stands behind tick {last}")
            last = tick.observation.tick
            ticks[last] = tick
    if attempt is None:
        raise _empty(path)
    return Record(attempt, tuple(ticks.values()), cut_short=_whole_bytes(path) < path.stat().st_size)


def read_ends(path: Path) -> Record:
    """Read how a rollout began and its last tick, if it had one, and nothing between; raises as `read` does."""
    if not _whole_bytes(path):
        raise _empty(path)
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        first = _entry(content[: content.find(b"\n") + 1], "line 1", path)
        if first["kind"] != "begin":
            raise _empty(path)
        end = content.rfind(b"\n") + 1
        cut_short = end < len(content)
        while end:
            start = content.rfind(b"\n", 0, end - 1) + 1
            entry = _entry(content[start:end], "the last line", path)
            if entry["kind"] == "tick":
                return Record(_attempt(first, path), (_tick(entry, path),), cut_short)
            end = start
    return Record(_attempt(first, path), (), cut_short)


def _entry(line: bytes, where: str, path: Path) -> dict[str, Any]:
    try:
        entry: dict[str, Any] = json.loads(line)
        schema, _ = entry["schema"], entry["kind"]
    except (ValueError, TypeError, KeyError):
        raise RolloutError(
            f"{path} is no ledger: {where} is no entry of one. Name the ledger.jsonl of a rollout, as Perch wrote it."
        ) from None
    if schema != SCHEMA:
        raise RolloutError(
            f"{path} was written by Perch with ledger schema {schema}; this one reads {SCHEMA}. Read it with the Perch "
            "that wrote it."
        )
    return entry


def _attempt(entry: dict[str, Any], path: Path) -> Attempt:
    attempt = _typed(Attempt, entry.get("attempt"), path)
    _check_time(attempt.state.started_s, path)
    return attempt


def _tick(entry: dict[str, Any], path: Path) -> Tick:
    tick = _typed(Tick, {key: value for key, value in entry.items() if key not in {"schema", "kind"}}, path)
    _check_time(tick.observation.now_s, path)
    return tick


def _typed(kind: type[T], content: object, path: Path) -> T:
    try:
        return loads(kind, json.dumps(content))
    except (RolloutError, ValueError, OverflowError) as error:  # the latter two: values that cannot be meant
        raise RolloutError(f"{path} cannot be read: {error}") from None


def _check_time(time_s: float, path: Path) -> None:
    if not 0 <= time_s <= _LAST_S:
        raise damaged(path, f"{time_s:g} s after 1970 is no time that has a date")


def damaged(path: Path, how: str) -> RolloutError:
    """The error of a ledger that Perch did not write so; `how` says what is wrong with it."""
    return RolloutError(f"{path} is damaged: {how}. Take it from a backup, or move its folder away.")


def _empty(path: Path) -> RolloutError:
    return RolloutError(f"{path} holds no rollout: its first whole line should tell how one began. Was it cut off?")
