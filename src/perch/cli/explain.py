"""`perch policy explain`: what a policy costs, and what another one would."""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from pydantic.alias_generators import to_camel
from rich.table import Table

from perch.cli.backtest import changed
from perch.cli.options import console, declared
from perch.core import Policy
from perch.core.sentences import percent
from perch.errors import UsageError
from perch.rehearsal.cost import Cost, Harm
from perch.rehearsal.explain import FAULTS, explain
from perch.rehearsal.sentences import sentences, setting, stage_name

_FASTEST_RPS = 100_000.0
_MOST_REPLICATIONS = 100_000
_DEFAULT = "default"


def tell_cost(
    declaration: Path,
    settings: list[str],
    rps: float,
    replications: int | None,
    against: str | None,
    *,
    as_json: bool,
) -> None:
    """Rehearse the declared policy, and another one beside it, and print what they cost.

    Raises:
        UsageError: a rate, a number of rollouts or a setting that cannot be meant.
        DeclarationError: a declaration that is missing or cannot be meant.
    """
    _refuse_senseless(rps, replications)
    spec = declared(declaration).spec
    policies = [(" ".join((str(declaration), *settings)), changed(spec.policy, settings))]
    if against is not None:
        policies.append((against, Policy() if against == _DEFAULT else declared(Path(against)).spec.policy))
    with console.status("rehearsing") as waiting:
        costs = [
            (name, explain(policy, spec.slo, rps, replications, lambda what: waiting.update(f"rehearsing {what}")))
            for name, policy in policies
        ]
    if as_json:
        print(json.dumps([{"name": name} | asdict(cost) for name, cost in costs], indent=2))  # noqa: T201  for programs
    else:
        _tell(costs)


def _refuse_senseless(rps: float, replications: int | None) -> None:
    if not 0 < rps <= _FASTEST_RPS:
        raise UsageError(f"--rps {rps:g} is no traffic to rehearse. It must lie above 0 and up to {_FASTEST_RPS:,.0f}.")
    if replications is not None and not 1 <= replications <= _MOST_REPLICATIONS:
        raise UsageError(f"--replications {replications:,} cannot be had. It must lie in 1 to {_MOST_REPLICATIONS:,}.")


def _tell(costs: Sequence[tuple[str, Cost]]) -> None:
    _say(setting(costs[0][1]))
    for name, cost in costs:
        _say(f"\n{name}{_differences(cost.policy, costs[0][1].policy)}")
        for sentence in sentences(cost):
            _say(f"- {sentence}")
    _say("")
    console.print(_table(costs))
    _say(
        "Bad responses are those that users saw until the canary was home or promoted, within an hour; `-`: not so many"
        " came home. Mirrored: it began in the shadow stage; live: the same policy with shadow: false."
    )


def _say(line: str) -> None:
    console.print(line, highlight=False, markup=False)


def _differences(policy: Policy, first: Policy) -> str:
    names = (field.name for field in fields(Policy) if getattr(policy, field.name) != getattr(first, field.name))
    told = ", ".join(f"{to_camel(name)} {getattr(policy, name)}" for name in names)
    return f" ({told})" if told else ""


def _table(costs: Sequence[tuple[str, Cost]]) -> Table:
    table = Table(box=None)
    for head in ("fault", "begun", "found", "bad", "95 %", "home, s", "95 %", "rollouts"):
        table.add_column(head, no_wrap=True)
    if len(costs) > 1:
        table.add_column("policy")
    rows = [(name, harm) for name, cost in costs for harm in cost.harms]
    for name, harm in sorted(rows, key=lambda row: (tuple(FAULTS).index(row[1].fault), not row[1].mirrored)):
        table.add_row(harm.fault, stage_name(harm), *_cells(harm), *([name] if len(costs) > 1 else []))
    return table


def _cells(harm: Harm) -> tuple[str, ...]:
    return (
        percent(harm.found),
        f"{harm.bad_mean:,.1f}",
        f"{harm.bad_p95:,.0f}",
        *("-" if time_s is None else f"{time_s:,.0f}" for time_s in (harm.home_s, harm.home_p95_s)),
        str(harm.replications),
    )
