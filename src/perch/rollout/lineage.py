"""Where a version comes from and what became of it: run, data, code, parameters, gates, and the rollouts of it.

The registry keeps what training wrote beside the model, and the ledgers what releases did. Versions that an older Perch
registered lack some of it; what is lacking is told by name, never filled in.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from perch.adapters.registry.port import ModelVersion
from perch.rollout.history import Summary

_RECORDED: Final = ("data_digest", "data_from_s", "data_to_s", "data_rows", "code_version", "parameters")
"""Tags that training writes today, whatever it trains."""


@dataclass(frozen=True, slots=True)
class Data:
    """The log that a version was trained and judged on."""

    digest: str | None
    """sha256 of the log as it was ingested, in hex."""

    from_s: float | None
    """Time of its first impression, in the log's own seconds."""

    to_s: float | None
    """Time of its last one."""

    rows: int | None
    """Impressions."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one gate found."""

    gate: str
    passed: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class NotJudged:
    """A gate that had nothing to judge by."""

    gate: str
    reason: str


@dataclass(frozen=True, slots=True)
class Gates:
    """The gates' record, as far as it says by itself why the version was offered or not."""

    findings: tuple[Finding, ...] = ()
    not_judged: tuple[NotJudged, ...] = ()


@dataclass(frozen=True, slots=True)
class Lineage:
    """One version from its data to its rollouts. `None` stands where nothing was recorded."""

    model: str
    version: int
    digest: str
    kind: str
    roles: tuple[str, ...]
    quarantine: str | None
    run: str | None
    """The registry's name for the run that made it."""

    workflow: str | None
    """The workflow that trained it; `None`: somebody did, by a command."""

    reason: str | None
    """Why it was trained."""

    data: Data
    code_version: str | None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """What training was told."""

    gate_reason: str | None = None
    """The gates' answer in a sentence; `None` for a version that asked no gate, as a baseline."""

    gates: Gates | None = None
    rollouts: tuple[Summary, ...] = ()
    """The attempts to release it, newest first."""

    lacking: tuple[str, ...] = ()
    """What should have been recorded and was not, or cannot be read."""


def lineage(version: ModelVersion, rollouts: tuple[Summary, ...]) -> Lineage:
    """Put together what is known of a version.

    Args:
        version: As the registry knows it.
        rollouts: Of the whole service, newest first.
    """
    told = _Told(version.tags)
    gates = told.gates()
    return Lineage(
        model=version.model,
        version=version.version,
        digest=version.digest,
        kind=version.kind,
        roles=tuple(sorted(role.value for role in version.roles)),
        quarantine=version.quarantine,
        run=version.run,
        workflow=version.tags.get("workflow") or None,
        reason=version.tags.get("reason") or None,
        data=Data(
            digest=version.tags.get("data_digest"),
            from_s=told.number("data_from_s"),
            to_s=told.number("data_to_s"),
            rows=None if (rows := told.number("data_rows")) is None else int(rows),
        ),
        code_version=version.tags.get("code_version"),
        parameters=told.parameters(),
        gate_reason=version.tags.get("gate_reason"),
        gates=gates,
        rollouts=tuple(rollout for rollout in rollouts if rollout.version == version.version),
        lacking=(*(name for name in _RECORDED if name not in version.tags), *told.unreadable),
    )


class _Told:
    """A version's tags, which are text; what cannot be read is remembered by name."""

    def __init__(self, tags: Mapping[str, str]) -> None:
        self.unreadable: list[str] = []
        self._tags = tags

    def number(self, name: str) -> float | None:
        try:
            return float(self._tags[name]) if name in self._tags else None
        except ValueError:
            self.unreadable.append(name)
            return None

    def parameters(self) -> dict[str, Any]:
        try:
            told = json.loads(self._tags.get("parameters", "{}"))
        except ValueError:
            told = None
        if not isinstance(told, dict):
            self.unreadable.append("parameters")
            return {}
        return told

    def gates(self) -> Gates | None:
        if "gates" not in self._tags:
            if "gate_reason" in self._tags:
                self.unreadable.append("gates")
            return None
        try:
            return _GATES.validate_json(self._tags["gates"])
        except ValidationError:
            self.unreadable.append("gates")
            return None


_GATES = TypeAdapter(Gates)
