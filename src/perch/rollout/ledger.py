"""The ledger: everything that a rollout saw, decided and was told, in the order it happened.

One JSON object a line, never changed once written. An entry is of one of four kinds: `begin` (who, the policy, the
first state), `tick` (the observation and the decision), `note` (what happened around it) and `end`. The ticks hold
all that the core was given, so replaying them through it gives the same decisions.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perch.core import Policy, State, decide
from perch.core.codec import dumps, loads
from perch.core.types import Action, Decision, Observation
from perch.rollout.attempt import Attempt

SCHEMA = 1


class Ledger:
    """The record of one rollout, in one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def begin(self, attempt: Attempt) -> None:
        """Open the record."""
        self._append("begin", attempt=dumps(attempt))

    def tick(self, observation: Observation, decision: Decision, outcome: Action | None) -> None:
        """Record what was seen and what was decided about it; `outcome` is how the rollout has ended by this."""
        self._append("tick", observation=dumps(observation), decision=dumps(decision), outcome=json.dumps(outcome))

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
    """The entries of a ledger, in order. A last line that a crash cut short is left out."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def replay(path: Path, policy: Policy | None = None) -> Iterator[tuple[Decision, Decision]]:
    """Decide every tick again; yields the recorded decision and the new one.

    With another `policy` than the recorded one this shows what it would have done with the same counts, as long as
    the weights are still those of the record. A tick that a crash or an error cut off before the state was saved was
    taken again with the same number: then the later one counts.
    """
    state: State | None = None
    before: State | None = None
    for entry in entries(path):
        if entry["kind"] == "begin":
            attempt = loads(Attempt, json.dumps(entry["attempt"]))
            state = before = attempt.state
            policy = policy or attempt.policy
        elif entry["kind"] == "tick" and state is not None and before is not None and policy is not None:
            observation = loads(Observation, json.dumps(entry["observation"]))
            before = before if observation.tick == state.tick else state
            state, decision = decide(before, observation, policy)
            yield loads(Decision, json.dumps(entry["decision"])), decision
