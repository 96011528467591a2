"""`perch lineage`: where a version comes from, and what became of it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from perch.cli.options import console
from perch.cli.target import Target
from perch.rollout.history import Summary, history
from perch.rollout.lineage import Data, Gates, Lineage, lineage

_FIRST_CLOCK_S: Final = 1e8
"""Below it a log's time is no time since 1970, but the number of a row."""

_WIDTH: Final = 12


def tell_lineage(target: Target, version: int, *, as_json: bool) -> None:
    """Print the lineage of a version.

    Raises:
        RegistryError: there is no such version, or the registry does not answer.
    """
    model = target.declaration().spec.model
    with console.status("asking the registry"), target.registry() as registry:
        found = registry.get(model, version)
    with console.status("reading the ledgers"), target.ledgers() as folder:
        past = history(folder)
    known = lineage(found, past.rollouts)
    if as_json:
        print(json.dumps(asdict(known), indent=2))  # noqa: T201  for programs
        return
    for what, line in _lines(known):
        console.print(f"{what:<{_WIDTH}}{line}", highlight=False, markup=False)
    for sentence in past.unreadable:
        console.print(f"A ledger cannot be told: {sentence}", highlight=False, markup=False)


def _lines(known: Lineage) -> Iterator[tuple[str, str]]:
    """What a line is about, and the line."""
    roles = f", {', '.join(known.roles)}" if known.roles else ""
    yield "version", f"{known.model} {known.version}, {known.kind}{roles}, digest {known.digest[:12]}"
    if known.quarantine is not None:
        yield "", f"in quarantine: {known.quarantine}"
    yield "trained by", f"workflow {known.workflow}" if known.workflow else "a command"
    if known.reason is not None:
        yield "because", known.reason
    if known.run is not None:
        yield "run", known.run
    yield "data", _data(known.data)
    yield "code", known.code_version or "-"
    yield "parameters", _parameters(known.parameters)
    yield "gates", known.gate_reason or "none was asked: only a candidate passes gates"
    if known.gates is not None:
        yield from (("", line) for line in _gates(known.gates))
    for i, rollout in enumerate(known.rollouts):
        yield ("" if i else "rollouts"), _rollout(rollout)
    if not known.rollouts:
        yield "rollouts", "none is recorded"
    if known.lacking:
        yield "lacking", f"{', '.join(known.lacking)}: not recorded when this version was trained, or not readable"


def _data(data: Data) -> str:
    rows = "" if data.rows is None else f"{data.rows:,} impressions "
    window = "" if data.from_s is None or data.to_s is None else f"from {_when(data.from_s)} to {_when(data.to_s)}, "
    return f"{rows}{window}digest {(data.digest or '-')[:12]}"


def _parameters(parameters: Mapping[str, Any]) -> str:
    """The plain ones of the settings; `--json` has them all."""
    settings = parameters.get("settings", {})
    plain = {name: value for name, value in settings.items() if isinstance(value, (int, float, str))}
    return ", ".join(f"{name} {value}" for name, value in sorted(plain.items())) or "-"


def _when(time_s: float) -> str:
    if time_s < _FIRST_CLOCK_S:
        return f"{time_s:,.0f}"
    return f"{datetime.fromtimestamp(time_s, tz=UTC):%Y-%m-%d %H:%M} UTC"


def _gates(gates: Gates) -> Iterator[str]:
    yield from (f"{'passed' if one.passed else 'REFUSED'} {one.gate}: {one.sentence}" for one in gates.findings)
    yield from (f"not judged {one.gate}: {one.reason}" for one in gates.not_judged)


def _rollout(rollout: Summary) -> str:
    outcome = rollout.outcome or "no end yet"
    return f"{rollout.name}, {_when(rollout.began_s)}: {outcome}. {rollout.sentence}"
