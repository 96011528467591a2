"""The results as tables for a person and as a file for a program."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from benchmarks.decisions.bars import Judgement
from benchmarks.decisions.guarded import GuardedResult
from benchmarks.decisions.pods import PodResult
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
    return f"{result.promoted:.0%}" + (f" {result.median_s:.0f} s" if result.promoted else "")


def _gone_home(result: Result) -> str:
    return f"{result.gone_home:.0%}" + (f" {result.median_s:.0f} s" if result.gone_home else "")


def _bad(result: Result) -> str:
    mark = "*" if result.promoted > _FEW else ""
    return f"{result.bad_mean:.1f} ({result.bad_p95:.0f}){mark}"


def guarded_table(results: Sequence[GuardedResult]) -> Table:
    """How promoted versions fared; times count from the fault."""
    table = _empty("After promotion", "scenario", "alarm rang", "soft rollback", "rollback", "kept its traffic", "bad")
    for r in results:
        soft, home = ("" if s is None else f"{s:.0f} s" for s in (r.soft_median_s, r.median_s))
        bad = f"{r.bad_mean:.1f} ({r.bad_p95:.0f})"
        table.add_row(r.key, f"{r.alarmed:.1%}", soft, f"{r.gone_home:.1%} {home}".rstrip(), f"{r.kept:.1%}", bad)
    return table


def alone_table(results: Sequence[Result]) -> Table:
    """Labels and pods; times of a worse log loss count from the first mature label."""
    table = _empty("Labels and pods", "scenario", "engine", "rolled back", "promoted", "after", "bad", "pod named")
    for r in results:
        after = "" if r.median_s is None else f"{r.median_s:.0f} s"
        named = f"{r.named:.0%}" if isinstance(r, PodResult) else ""
        bad = f"{r.bad_mean:.1f} ({r.bad_p95:.0f})"
        table.add_row(r.scenario, r.engine, f"{r.rolled_back:.1%}", f"{r.promoted:.1%}", after, bad, named)
    return table


def bars_table(judgements: Sequence[Judgement]) -> Table:
    """Which bars were met, with the worst figure of each."""
    table = _empty("Bars", "what", "engine", "limit", "measured", "met", "where")
    for judgement in judgements:
        bar, worst = judgement.bar, judgement.worst
        figure = "" if judgement.figure is None else f"{judgement.figure:.4g}"
        measured = ", ".join(filter(None, (figure, judgement.too_few)))
        table.add_row(bar.asked, bar.engine, bar.limit, measured, _met(judgement), worst.key if worst else "")
    return table


def _met(judgement: Judgement) -> str:
    if judgement.worst is None:
        return "not run"
    if judgement.missed:
        return "NO"
    return "yes" if judgement.met else "partly run"


def missed(judgements: Sequence[Judgement]) -> list[str]:
    """A sentence for each bar that was missed: what forbids to meet it, as far as that is known."""
    return [f"{j.bar.asked}, {j.bar.engine}: {j.too_few or j.bar.why_missed()}." for j in judgements if j.missed]


def _empty(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column)
    return table


def write(results: Sequence[Result], path: Path, columns: type[Result] = Result) -> None:
    """Write the fields that `columns` has, as a JSON list with one object a line, whole or not at all."""
    names = [field.name for field in fields(columns)]
    lines = [json.dumps({name: getattr(result, name) for name in names}) for result in results]
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    beside.replace(path)
