"""Writes a run's record for machines (`report.json`) and for people (`report.html`).

The page is one file that asks nothing of a network or a script: it opens from a disk, an archive or a mail.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from perch.ui.chart import rollout_chart
from perch.ui.markup import Markup, el, raw
from perch.ui.record import LoadRecord, ModelRecord, RolloutRecord, RunRecord, StageRecord

DECISIONS = {"promote": "promoted", "roll_back": "rolled back", "fall_back": "fell back to the baseline"}
"""A decision as a person says it."""

_SLICE = "slice/"
"""Metrics of a part of the data are named `slice/<part>/<metric>`."""

_SHOWN_EVENTS = 8
"""A story of more events than this is folded away."""


def write_report(record: RunRecord, folder: Path) -> Path:
    """Write `report.json` and `report.html` into `folder` and return the page. Each file is there whole or not at all.

    `report.json` is the record itself, with `rows_per_s` for each stage; numbers that JSON does not know (`nan`,
    infinity) become null.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / "report.json", json.dumps(_document(record), indent=2, allow_nan=False))
    return _replace(folder / "report.html", page(record))


def _document(record: RunRecord) -> Any:  # noqa: ANN401  any JSON
    stages = [asdict(stage) | {"rows_per_s": stage.rows_per_s} for stage in record.stages]
    return _finite(asdict(record) | {"stages": stages})


def _replace(path: Path, text: str) -> Path:
    beside = path.with_suffix(".partial")
    beside.write_text(text, encoding="utf-8")
    return beside.replace(path)


def _finite(value: Any) -> Any:  # noqa: ANN401  any JSON
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def page(record: RunRecord) -> str:
    """The record as one HTML document."""
    style = files("perch.ui").joinpath("report.css").read_text(encoding="utf-8")
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", f"Perch run {record.name}"),
        el("style", raw(style)),
    )
    main = el(
        "main",
        _header(record),
        *(_rollout(rollout) for rollout in record.rollouts),
        *([_load(record.load)] if record.load else []),
        *([_models(record.models)] if record.models else []),
        *([_stages(record.stages)] if record.stages else []),
        _footer(record),
    )
    return f"<!DOCTYPE html>\n{el('html', head, el('body', main), lang='en')}\n"


def _header(record: RunRecord) -> Markup:
    return el(
        "header",
        el("p", "Perch", class_="brand"),
        el("h1", _headline(record)),
        el("p", f"Run {record.name}, started {record.started}", class_="quiet"),
        el("div", *_tiles(record), class_="tiles"),
        *([_contents(record.rollouts)] if record.rollouts else []),
    )


def _headline(record: RunRecord) -> str:
    total, right = len(record.rollouts), sum(rollout.as_expected for rollout in record.rollouts)
    if not total:
        return "No rollout was run"
    return (
        f"All {total} rollouts ended as they should"
        if right == total
        else f"{right} of {total} rollouts ended as they should"
    )


def _tiles(record: RunRecord) -> list[Markup]:
    rollouts = record.rollouts
    figures = [
        (f"of {record.requests:,} requests lost", f"{record.lost_requests:,}"),
        ("canary requests", f"{sum(r.canary_requests for r in rollouts):,}"),
        ("bad responses", f"{sum(r.bad_responses for r in rollouts):,}"),
        ("p99 under load", f"{_figure(record.load.p99_ms, 'ms')}" if record.load else "not run"),
        ("whole run", f"{record.seconds:.0f} s"),
    ]
    return [el("div", el("strong", value), el("span", label), class_="tile") for label, value in figures]


def _contents(rollouts: Sequence[RolloutRecord]) -> Markup:
    rows = [
        [
            el("a", rollout.title, href=f"#{_anchor(rollout)}"),
            _badge(rollout),
            f"{rollout.seconds:.0f} s",
            f"{rollout.canary_requests:,}",
            f"{rollout.bad_responses:,}",
            f"{rollout.lost_requests:,}",
        ]
        for rollout in rollouts
    ]
    return _table(["Rollout", "Ended", "Took", "Canary requests", "Bad responses", "Lost"], rows, text_columns=2)


def _anchor(rollout: RolloutRecord) -> str:
    return f"rollout-{rollout.name}"


def _badge(rollout: RolloutRecord) -> Markup:
    words = DECISIONS.get(rollout.decision, rollout.decision)
    kind = rollout.decision if rollout.as_expected else "unexpected"
    return el("span", words, class_=f"badge {kind}")


def _rollout(rollout: RolloutRecord) -> Markup:
    expected = DECISIONS.get(rollout.expected, rollout.expected)
    surprise = [] if rollout.as_expected else [el("p", f"It should have {expected}.", class_="surprise")]
    return el(
        "section",
        el("h2", rollout.title, " ", _badge(rollout)),
        el("p", rollout.reason, class_="reason"),
        *surprise,
        el("figure", _legend(rollout), rollout_chart(rollout)),
        el("dl", *_facts(rollout)),
        *([_events(rollout)] if rollout.events else []),
        id=_anchor(rollout),
    )


def _legend(rollout: RolloutRecord) -> Markup:
    mirrored = any(point.mirror for point in rollout.weights)
    entries = [("stable", "stable"), ("baseline", "baseline"), ("canary", "canary")]
    entries += [("mirror", "copied to the canary")] if mirrored else []
    entries += [("evidence", "evidence of harm (e-value)")]
    keys = [el("span", el("i", class_=f"key {kind}"), label) for kind, label in entries]
    return el("figcaption", *keys)


def _facts(rollout: RolloutRecord) -> list[Markup]:
    facts = {
        "Took": f"{rollout.seconds:.1f} s",
        "Canary requests": f"{rollout.canary_requests:,}",
        "Bad responses": f"{rollout.bad_responses:,}",
        "Requests lost": f"{rollout.lost_requests:,}",
        "Strongest evidence": _figure(rollout.e_value),
    }
    return [el("div", el("dt", name), el("dd", value)) for name, value in facts.items()]


def _events(rollout: RolloutRecord) -> Markup:
    items = [el("li", el("time", f"{event.t_s:.1f} s"), el("span", event.sentence)) for event in rollout.events]
    shown = "" if len(items) <= _SHOWN_EVENTS else None
    return el("details", el("summary", f"What happened ({len(items)})"), el("ol", *items), open=shown)


def _load(load: LoadRecord) -> Markup:
    worst_ms = max(load.slo_p99_ms, *(v for v in (load.p50_ms, load.p95_ms, load.p99_ms) if math.isfinite(v)))
    verdict = el(
        "span", "passed" if load.passed else "failed", class_=f"badge {'promote' if load.passed else 'unexpected'}"
    )
    latencies = {"p50": load.p50_ms, "p95": load.p95_ms, "p99": load.p99_ms, "p99 allowed": load.slo_p99_ms}
    bars = [
        _bar(name, value, worst_ms, over=name == "p99" and value > load.slo_p99_ms) for name, value in latencies.items()
    ]
    return el(
        "section", el("h2", "Load ", verdict), el("p", load.sentence, class_="reason"), el("div", *bars, class_="bars")
    )


def _bar(name: str, value_ms: float, worst_ms: float, *, over: bool) -> Markup:
    width = 100 * value_ms / worst_ms if math.isfinite(value_ms) else 0.0
    kind = "allowed" if name.endswith("allowed") else "over" if over else "measured"
    track = el("span", el("i", class_=kind, style=f"width:{width:.1f}%"), class_="track")
    return el("div", el("span", name), track, el("span", _figure(value_ms, "ms"), class_="number"), class_="bar")


def _models(models: Sequence[ModelRecord]) -> Markup:
    rows = [[f"v{model.version}", model.role, model.kind, model.gate] for model in models]
    names = list(dict.fromkeys(name for model in models for name in model.metrics))
    slices = [name for name in names if name.startswith(_SLICE)]
    overall = [name for name in names if name not in slices]
    return el(
        "section",
        el("h2", "Models"),
        _table(["Version", "Role", "Kind", "What the gate said"], rows, text_columns=4),
        *([_metrics("Metrics on later days", models, overall, open_="")] if overall else []),
        *([_metrics("Metrics by slice", models, slices)] if slices else []),
    )


def _metrics(title: str, models: Sequence[ModelRecord], names: Sequence[str], *, open_: str | None = None) -> Markup:
    rows = [
        [name.removeprefix(_SLICE).replace("_", " "), *(_figure(model.metrics.get(name, math.nan)) for model in models)]
        for name in names
    ]
    columns = ["Metric", *(f"v{model.version}" for model in models)]
    return el("details", el("summary", title), _table(columns, rows, text_columns=1), open=open_)


def _stages(stages: Sequence[StageRecord]) -> Markup:
    rows = [
        [
            stage.name,
            f"{stage.seconds:.1f} s",
            f"{stage.rows:,}" if stage.rows else "",
            f"{stage.rows_per_s:,.0f}" if stage.rows_per_s else "",
        ]
        for stage in stages
    ]
    return el("section", el("h2", "Stages"), _table(["Stage", "Took", "Rows", "Rows per second"], rows, text_columns=1))


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int) -> Markup:
    """A table whose first columns hold text and the others numbers."""
    kinds = ["text" if i < text_columns else "number" for i in range(len(titles))]
    head = el("tr", *(el("th", title, class_=kind, scope="col") for title, kind in zip(titles, kinds, strict=True)))
    body = [el("tr", *(el("td", c, class_=kind) for c, kind in zip(row, kinds, strict=True))) for row in rows]
    return el("div", el("table", el("thead", head), el("tbody", *body)), class_="wide")


def _figure(value: float, unit: str = "") -> str:
    """A number with about four significant digits, or a dash when there is none."""
    if not math.isfinite(value):
        return "\N{EN DASH}"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 4
    return f"{value:,.{digits}f} {unit}".rstrip() if abs(value) < 1e7 else f"{value:.1e} {unit}".rstrip()


def _footer(record: RunRecord) -> Markup:
    notes = [el("ul", *(el("li", note) for note in record.notes))] if record.notes else []
    platform = ", ".join(f"{name} {value}" for name, value in record.machine.items())
    return el("footer", *notes, el("p", platform, class_="quiet"))
