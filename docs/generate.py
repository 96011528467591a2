"""Writes what the reference says of the code, from the code: `python docs/generate.py`.

Each page is written by hand but for its generated blocks, which stand between two comments, `<!-- generated: NAME -->`
and `<!-- end -->`. Tables are taken from the types and their docstrings, so a setting cannot exist and be missing here;
figures of the benchmarks from their results. `tests/golden/test_reference.py` compares.
"""  # noqa: INP001  a script, no package

import ast
import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import typer
from pydantic.alias_generators import to_camel

from perch import errors
from perch.cli.app import app
from perch.cli.where import choose
from perch.core import policy
from perch.core.diagnosis import Cause
from perch.core.policy import _INTERVALS, _UNBOUNDED
from perch.rollout.meters import Meters
from perch.settings import ModelService, schema
from perch.settings.crd import meaning
from perch.signals import names
from perch.ui import record

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "benchmarks" / "results"
PAGES = (
    *(page for folder in ("reference", "explanation") for page in sorted((DOCS / folder).glob("*.md"))),
    DOCS.parent / "README.md",
)

_BLOCK = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_NO_BOUND = 1e9
_UNITS = {
    "Ms": "ms",
    "S": "s",
    "rps": "requests/s",
    "AgeH": "h",
    "retentionDays": "days",
    "Mb": "MB",
    "harmBudget": "responses",
    "Clicks": "clicks",
    "stalenessPrice": "clicks",
    **dict.fromkeys(("Weight", "Share", "Rate", "HoldBack", "Loss", "margin", "HarmBound"), "share"),
    **dict.fromkeys(("sliceMargin", "Explained", "Gap"), "share"),
    **dict.fromkeys(("Ratio", "Odds"), "times"),
    **dict.fromkeys(("alpha", "beta", "Alpha"), "probability"),
}


def pages() -> Iterator[tuple[Path, str]]:
    """Yield each page that has generated blocks, with the text that it should have."""
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        renewed = _BLOCK.sub(lambda block: f"{block[1]}{BLOCKS[block['name']]()}\n{block[3]}", text)
        if _BLOCK.search(text):
            yield path, renewed


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Rows as a Markdown table."""
    lines = [tuple(head), *map(tuple, rows)]
    lines.insert(1, ("---",) * len(lines[0]))
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


# --- docstrings -----------------------------------------------------------------------------------------------------


def docstrings(source: type | ModuleType) -> dict[str, str]:
    """The text below each field of a class, or below each constant of a module, as one line."""
    tree = ast.parse(inspect.getsource(source))
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) and inspect.isclass(source) else tree.body
    found = {}
    for statement, following in pairwise(body):
        match statement, following:
            case (
                ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = " ".join(text.split())
    return found


# --- the declaration ------------------------------------------------------------------------------------------------


def declaration_rows(path: str, node: Mapping[str, Any], defs: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """One row for each key at or below `path`: key, default, range, meaning."""
    for key, found in node["properties"].items():
        name = found.get("$ref", "").rpartition("/")[2]
        where, kind = f"{path}{key}", defs.get(name, {})
        if "properties" in kind:
            yield from declaration_rows(f"{where}.", kind | {"title": name}, defs)
            continue
        told = kind | found
        yield (f"`{where}`", _value(told.get("default")), _range(key, told), _meaning(node["title"], key, told))


def _meaning(owner: str, key: str, found: Mapping[str, Any]) -> str:
    known = getattr(schema, owner, None) or getattr(policy, owner)
    texts = {to_camel(name): text for name, text in docstrings(known).items()}
    text: str = texts.get(key) or found.get("description") or _FIXED[key]
    return meaning(text)


_FIXED = {"apiVersion": "Version of this layout.", "kind": "What the file declares."}


def _range(key: str, found: Mapping[str, Any]) -> str:
    options = [option for option in found.get("anyOf", [found]) if option.get("type") != "null"]
    told, empty = options[0], len(found.get("anyOf", [])) > 1
    unit = next((f" {unit}" for suffix, unit in _UNITS.items() if key.endswith(suffix)), "")
    text = _bounds(key, told) + unit
    return f"{text}, or empty" if empty else text


def _bounds(key: str, told: Mapping[str, Any]) -> str:
    if "enum" in told:
        return ", ".join(f"`{choice}`" for choice in told["enum"])
    if "const" in told:
        return f"only `{told['const']}`"
    if told.get("type") == "array":
        return f"{told['minItems']} to {told['maxItems']} of them"
    if told.get("type") == "string":
        return _FORMS.get(key, "lower-case letters, digits and `-`, at most 40")
    if told["type"] == "boolean":
        return "`true`, `false`"
    intervals = {to_camel(name): bounds for name, bounds in _INTERVALS.items()}
    low, high = intervals.get(key, _UNBOUNDED)
    above = "above " if "exclusiveMinimum" in told else ""
    low = told.get("minimum", told.get("exclusiveMinimum", low))
    high = told.get("maximum", high if "minimum" not in told else None)
    return f"{above}{_plain(low)} " + ("and more" if high is None or high >= _NO_BOUND else f"to {_plain(high)}")


_FORMS = {
    "userColumn": "an input's name",
    "storeSecret": "a Secret's name",
    "gateway": "`namespace/name`",
    "hostname": "a DNS name",
    "cpu": "such as `2`, `0.5` or `500m`, as text",
    "memory": "such as `512Mi` or `2Gi`",
    "data": "a path or an address",
}


def _plain(number: float) -> str:
    return f"{number:,.9f}".rstrip("0").rstrip(".")


def _value(value: object) -> str:
    if value is None:
        return "empty"
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    return f"`{str(value).lower() if isinstance(value, bool) else value if isinstance(value, str) else f'{value:g}'}`"


def declaration() -> str:
    """Every key of the declaration."""
    tree = ModelService.model_json_schema(by_alias=True)
    rows = declaration_rows("", tree | {"title": "ModelService"}, tree["$defs"])
    return table(("key", "default", "range and unit", "meaning"), rows)


# --- the command line -----------------------------------------------------------------------------------------------


_WHERE = set(inspect.signature(choose).parameters) - {"declaration"}
"""Options that all verbs have which run somewhere else, too; they are told once."""


def commands(name: str, command: Any) -> Iterator[str]:  # noqa: ANN401  typer ships its own click
    """Each command below `command` with its arguments and options."""
    for verb, inner in getattr(command, "commands", {}).items():
        full = f"{name} {verb}"
        yield f"### `{full}`\n\n{inner.help}"
        if hasattr(inner, "commands"):
            yield from commands(full, inner)
            continue
        anywhere = {parameter.name for parameter in inner.params} >= _WHERE
        if anywhere:
            yield "On this machine or [on a cluster](#where-a-service-runs)."
        if rows := [_option(one) for one in inner.params if not (anywhere and one.name in _WHERE)]:
            yield table(("option", "default", "meaning"), rows)


def _option(parameter: Any) -> tuple[str, str, str]:  # noqa: ANN401
    spelled = ", ".join(f"`{name}`" for name in sorted(parameter.opts, key=len, reverse=True))
    if parameter.param_type_name == "argument":
        spelled = f"`{parameter.name.upper()}`"
    default = parameter.default() if callable(parameter.default) else parameter.default
    return spelled, "" if default is None or default is False else f"`{default}`", parameter.help or ""


def where() -> str:
    """The options that say where a service runs."""
    anywhere = typer.main.get_command(app).commands["status"]  # type: ignore[attr-defined]
    return table(("option", "default", "meaning"), (_option(one) for one in anywhere.params if one.name in _WHERE))


def cli() -> str:
    """Every verb of `perch`."""
    return "\n\n".join(commands("perch", typer.main.get_command(app)))


# --- names, records, errors -----------------------------------------------------------------------------------------


def metrics() -> str:
    """Everything that is counted."""
    texts = docstrings(names)
    counted = [(value, texts[name]) for name, value in vars(names).items() if str(value).startswith("perch_")]
    return table(("name", "what it counts"), ((f"`{value}`", _linked(text)) for value, text in counted))


def operator_metrics() -> str:
    """Everything that the operator tells of itself and of its services."""
    shown = Meters(lambda: True).registry.collect()
    rows = ((f"`{one.name}`", f"{one.type.capitalize()}: {one.documentation}") for one in shown)
    return table(("name", "what it tells"), rows)


def headers() -> str:
    """The headers that carry what is counted."""
    texts = docstrings(names)
    found = [(value, texts[name]) for name, value in vars(names).items() if name.endswith("_HEADER")]
    return table(("header", "meaning"), ((f"`{value}`", text) for value, text in found))


def _linked(text: str) -> str:
    known = {name: value for name, value in vars(names).items() if name.isupper()}

    def spelled(name: re.Match[str]) -> str:
        value = known.get(name[1], name[1])
        return f"`{value}`" if isinstance(value, str) else ", ".join(f"`{part}`" for part in value)

    return re.sub(r"`([A-Z_]+)`", spelled, text)


def report() -> str:
    """The record of a run, one table for each of its parts."""
    parts = {
        "The document": record.RunRecord,
        "`stages[]`": record.StageRecord,
        "`models[]`": record.ModelRecord,
        "`rollouts[]`": record.RolloutRecord,
        "`rollouts[].weights[]`": record.WeightPoint,
        "`rollouts[].evidence[]`": record.EvidencePoint,
        "`rollouts[].events[]`": record.StoryLine,
        "`load`": record.LoadRecord,
    }
    return "\n\n".join(f"### {title}\n\n{inspect.getdoc(part)}\n\n{_fields(part)}" for title, part in parts.items())


def _fields(part: type) -> str:
    texts = docstrings(part)
    fields = inspect.get_annotations(part).items()
    rows = ((f"`{name}`", _kind(str(kind)), texts.get(name, "")) for name, kind in fields)
    return table(("key", "type", "meaning"), rows)


def _kind(annotation: str) -> str:
    plain = re.sub(r"<class '([a-z]+)'>", r"\1", annotation)
    words = {"str": "text", "float": "number", "int": "integer", "bool": "true or false"}
    if plain.startswith("tuple"):
        return "list"
    if "Mapping" in plain:
        return "object"
    kinds = [words.get(part.strip(), "object") for part in plain.split("|") if part.strip() != "None"]
    return kinds[0] + (" or null" if "None" in plain else "")


def exit_codes() -> str:
    """The exit code of each class of error."""
    tree = (errors.__doc__ or "").split("\n\n")[1]
    return f"```text\n{inspect.cleandoc(tree)}\n```"


# --- results of the benchmarks --------------------------------------------------------------------------------------

_ENGINES = {
    "perch": "Perch, live only",
    "perch-shadow": "Perch, shadow first",
    "flagger": "Flagger, documented",
    "flagger-10s-x2": "Flagger, 10 s x 2",
    "argo": "Argo Rollouts, documented",
    "argo-1m": "Argo Rollouts, 1 min",
    "sagemaker": "SageMaker's alarm",
    "kayenta": "Kayenta, 20 min x 3",
    "z-test": "z-test, peeked",
}
_HARMS = {
    "0.1 → 1 % errors": ("S1 errors 0.1 % to 1 %", 100),
    "0.1 → 5 %": ("S1 errors 0.1 % to 5 %", 100),
    "0.1 → 5 %, 1,000 rps": ("S1 errors 0.1 % to 5 %", 1000),
    "latency x 1.5, bursts": ("S2 latency x1.5, bursts", 100),
    "errors grow to 5 %": ("S5 errors grow to 5 % from 60 to 660 s", 100),
}
_GOOD = {
    "none, 10 rps": ("S0 no fault", 10),
    "none": ("S0 no fault", 100),
    "none, 2 % errors": ("S0 no fault, base error 2 %", 100),
    "bursts": ("S0 no fault, bursts", 100),
}


def peers() -> str:
    """Bad responses, and false rollbacks, of every engine in the scenarios that tell most."""
    results = json.loads((RESULTS / "decisions.json").read_text(encoding="utf-8"))
    found = {(r["engine"], r["scenario"], r["rps"]): r for r in results}

    def rows(cases: Mapping[str, tuple[str, float]], cell: Callable[[Any], str]) -> Iterator[tuple[str, ...]]:
        for engine, title in _ENGINES.items():
            yield title, *(cell(found[engine, *case]) for case in cases.values())

    harm = table(("a canary that harms: bad responses, caught, after", *_HARMS), rows(_HARMS, _harmful))
    good = table(("a canary that is as good: rolled back within the hour", *_GOOD), rows(_GOOD, _harmless))
    return f"{harm}\n\n{good}"


_SHOWN = ("perch-shadow", "perch", "flagger", "argo", "kayenta", "sagemaker")


def in_figures() -> str:
    """The figures that tell most, one engine a column."""
    results = json.loads((RESULTS / "decisions.json").read_text(encoding="utf-8"))
    found = {(r["engine"], r["scenario"], r["rps"]): r for r in results}
    harmful, harmless = (
        [found[engine, *case] for engine in _SHOWN] for case in (_HARMS["0.1 → 5 %"], _GOOD["none, 10 rps"])
    )
    rows = (
        ("5 % errors: bad responses until it was home", *(_digits(r["bad_mean"]) for r in harmful)),
        ("5 % errors: sent home", *(f"{r['rolled_back'] + r['aborted']:.0%}".replace("%", " %") for r in harmful)),
        ("5 % errors: after", *(f"{r['median_s']:,.0f} s" if r["median_s"] else "never" for r in harmful)),
        ("no fault, 10 requests/s: sent home within the hour", *(_harmless(r) for r in harmless)),
    )
    return table(("a canary with", *(_ENGINES[engine] for engine in _SHOWN)), rows)


def _harmful(result: Mapping[str, Any]) -> str:
    caught = result["rolled_back"] + result["aborted"]
    if not caught:
        return f"{_digits(result['bad_mean'])}, never caught"
    part = "" if caught > _ALL else f", {caught:.0%} caught".replace("%", " %")
    return f"{_digits(result['bad_mean'])}{part}, {result['median_s']:,.0f} s"


_ALL = 0.995


def _harmless(result: Mapping[str, Any]) -> str:
    return f"{result['rolled_back']:.1%}".replace("%", " %")


def _digits(number: float) -> str:
    return f"{number:,.1f}" if number < 100 else f"{number:,.0f}"


def robustness() -> str:
    """What each broken assumption costs."""
    results = json.loads((RESULTS / "robustness.json").read_text(encoding="utf-8"))
    rows = (
        (
            r["flaw"],
            f"{r['same_rolled_back']:.1%}".replace("%", " %"),
            f"{r['worse_rolled_back']:.0%}, {r['worse_bad_mean']:.1f} bad".replace("%", " %"),
            r["remedy"],
        )
        for r in results
    )
    return table(
        ("broken by", "identical canary rolled back", "canary with 5 % errors rolled back", "what to do"), rows
    )


def drift_bench() -> str:
    """What finding drift costs, what it finds, and how often it cries wolf."""
    found = json.loads((RESULTS / "drift.json").read_text(encoding="utf-8"))
    speed, breaks = found["speed"], found["breaks"]
    calm, of_calm = breaks.pop("calm")
    tastes = found["concept"]["tastes change"]
    share = sum(tastes.get(cause, 0) for cause in (Cause.CONCEPT, Cause.LABELS)) / sum(tastes.values())
    rows = [
        ("1,000,000 rows x 20 columns, counted and compared", f"{speed['cpu_s']:.2f} CPU s, {speed['mb']:.0f} MB"),
        (f"Evidently beside it, {speed['beside']:,} rows in the same bins", f"{speed['ratio']:,.0f} times the CPU"),
        ("largest difference to its PSI and Jensen-Shannon distance", f"{speed['apart']:.0e}"),
        ("false alarms a week, 20 inputs, the worst of six streams", f"{max(found['alarms'].values()):.1f}"),
        *((f"found within two windows, and named: {kind}", f"{hit} of {of}") for kind, (hit, of) in breaks.items()),
        ("found where nothing was broken", f"{calm} of {of_calm} markets"),
        ("a change of tastes told from one of inputs", f"{share:.0%}".replace("%", " %")),
    ]
    return table(("measured", ""), rows)


def imbalance() -> str:
    """What each treatment of rare clicks comes to, a table for each log and kind of model."""
    results = json.loads((RESULTS / "imbalance.json").read_text(encoding="utf-8"))
    groups: dict[str, list[tuple[str, ...]]] = {}
    for r in results:
        told, differs = r["setting"], r["difference"]
        title = (
            f"**{told['model']}, {told['data']}** ({told['trials']} seeds; {told['training_clicks']:,} clicks to learn "
            f"from, {told['evaluation_clicks']:,} to be judged by)"
        )
        against = f"{differs['mean']:+.2%} ({differs['low']:+.2%} to {differs['high']:+.2%})".replace("%", " %")
        figures = (f"{r['auc']:.3f}", f"{r['ece_before']:.4f}", f"{r['ece']:.4f}", f"{r['calibration_ratio']:.2f}")
        rows = groups.setdefault(title, [])
        rows.append(
            (r["treatment"], f"{r['training_rows']:,}", f"{r['seconds']:.1f} s", against if rows else "", *figures)
        )
    head = ("treatment", "rows", "CPU", "log loss against none (95 %)", "AUC", "ECE before", "ECE after", "predicted")
    return "\n\n".join(f"{title}\n\n{table(head, rows)}" for title, rows in groups.items())


BLOCKS: Mapping[str, Callable[[], str]] = {
    "declaration": declaration,
    "cli": cli,
    "where": where,
    "metrics": metrics,
    "operator-metrics": operator_metrics,
    "headers": headers,
    "report": report,
    "exit-codes": exit_codes,
    "in-figures": in_figures,
    "peers": peers,
    "robustness": robustness,
    "imbalance": imbalance,
    "drift-bench": drift_bench,
}


if __name__ == "__main__":
    for page, content in pages():
        page.write_text(content, encoding="utf-8")
