"""The results as tables for a person and as a file for a program."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.decisions.run import Result
from benchmarks.decisions.scenarios import Scenario
from rich.table import Table

_FEW = 0.05
_HALF_COUNTED = "* more than 5 % were promoted, and go on to harm where this table no longer counts"

Row = Mapping[str, Result]
"""The results in one scenario, by engine."""


def tables(results: Sequence[Result], scenarios: Mapping[str, Scenario], engines: Sequence[str]) -> list[Table]:
    """One table a question; rows are scenarios, columns engines."""
    rows = {
        key: {r.engine: r for r in results if (r.scenario, r.rps) == (scenario.name, scenario.traffic.rps)}
        for key, scenario in scenarios.items()
    }
    harmful = {key: row for key, row in rows.items() if scenarios[key].harmful}
    harmless = {key: row for key, row in rows.items() if not scenarios[key].harmful}
    promotable = {key: row for key, row in harmless.items() if scenarios[key].promotion}
    return [
        _table("Good canaries rolled back", harmless, engines, lambda r: f"{r.rolled_back:.1%}"),
        _table("Good canaries promoted, and median seconds until then", promotable, engines, _promoted),
        _table("Bad canaries gone home, and median seconds until then", harmful, engines, _gone_home),
        _table("Bad responses served by bad canaries: mean (95th percentile)", harmful, engines, _bad, _HALF_COUNTED),
    ]


def _table(
    title: str,
    rows: Mapping[str, Row],
    engines: Sequence[str],
    cell: Callable[[Result], str],
    caption: str | None = None,
) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", caption=caption, caption_justify="left")
    table.add_column("scenario")
    for engine in engines:
        table.add_column(engine, justify="right")
    for key, row in rows.items():
        table.add_row(key, *(cell(row[engine]) for engine in engines))
    return table


def _promoted(result: Result) -> str:
    gone_home = result.rolled_back + result.aborted > 0
    return f"{result.promoted:.0%}" + ("" if gone_home or result.median_s is None else f" {result.median_s:.0f} s")


def _gone_home(result: Result) -> str:
    share = result.rolled_back + result.aborted
    return f"{share:.0%}" + (f" {result.median_s:.0f} s" if share else "")


def _bad(result: Result) -> str:
    mark = "*" if result.promoted > _FEW else ""
    return f"{result.bad_mean:.1f} ({result.bad_p95:.0f}){mark}"


def write(results: Sequence[Result], path: Path) -> None:
    """Write the results as a JSON list, one object a line, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text("[\n" + ",\n".join(json.dumps(asdict(result)) for result in results) + "\n]\n")
    beside.replace(path)
