"""Compares what can be done about rare clicks: `make bench-imbalance`, or `QUICK=1 make bench-imbalance`."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from benchmarks.imbalance.learners import LEARNERS
from benchmarks.imbalance.study import Result, Setting, results, try_all
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from perch.workload.data import read
from perch.workload.schema import CLICK_LOG, OPEN_BANDIT, Schema
from perch.world import Market

_RESULTS = Path(__file__).parents[1] / "results" / "imbalance.json"
_OPEN_BANDIT = Path(__file__).parents[3] / "shared" / "data" / "open-bandit"
"""Beside the checkout, if anywhere; the tutorial says where it comes from."""

_WIDTH = 200
_HEADS = ("rows", "CPU s", "log loss", "against none", "95 %", "AUC", "ECE before", "ECE", "clicks predicted")


def main() -> None:
    """Measure, print and write."""
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    quick = os.environ.get("QUICK", "") not in {"", "0"}
    seeds, impressions = (2, 60_000) if quick else (8, 300_000)
    found = []
    with Progress(console=console, transient=True) as progress:
        going = progress.add_task("studying", total=2 * seeds)

        def told(logs: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
            for log in logs:
                yield log
                progress.advance(going)

        market = f"market, {impressions:,} impressions"
        logs = told(Market(seed).log(14, impressions) for seed in range(seeds))
        found += study(market, logs, CLICK_LOG, same_log=False)
        if _OPEN_BANDIT.is_dir():
            log = _coded(pd.concat(read(_OPEN_BANDIT, "open-bandit"), ignore_index=True), OPEN_BANDIT)
            found += study("Open Bandit", told(log for _ in range(seeds)), OPEN_BANDIT, same_log=True)
    console.print(*tables(found), sep="\n")
    if not _OPEN_BANDIT.is_dir():
        console.print(f"Without Open Bandit, which is not at {os.path.relpath(_OPEN_BANDIT)}.")
    if quick:
        console.print("Quick: too few logs to prove anything; nothing was written.")
        return
    _RESULTS.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n", encoding="utf-8")
    console.print(f"Written to {os.path.relpath(_RESULTS)}")


def study(data: str, logs: Iterator[pd.DataFrame], schema: Schema, *, same_log: bool) -> list[Result]:
    """All treatments on all logs, the n-th of which has seed n."""
    tried = [try_all(log, schema, seed) for seed, log in enumerate(logs)]
    return [
        result
        for kind in LEARNERS
        for result in results(data, kind, [trials[kind] for trials in tried], same_log=same_log)
    ]


def tables(found: Sequence[Result]) -> list[Table]:
    """One for each log and kind of model."""
    settings = dict.fromkeys(one.setting for one in found)
    return [_table(setting, [one for one in found if one.setting == setting]) for setting in settings]


def _table(setting: Setting, rows: Sequence[Result]) -> Table:
    title = (
        f"{setting.model} on {setting.data}: {setting.trials} seeds, {setting.training_clicks:,} clicks to learn from, "
        f"{setting.evaluation_clicks:,} to be judged by"
    )
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("treatment")
    for head in _HEADS:
        table.add_column(head, justify="right")
    for one in rows:
        table.add_row(
            one.treatment,
            f"{one.training_rows:,}",
            f"{one.seconds:.2f}",
            f"{one.log_loss:.5f}",
            f"{one.difference.mean:+.2%}",
            f"{one.difference.low:+.2%} to {one.difference.high:+.2%}",
            f"{one.auc:.4f}",
            f"{one.ece_before:.4f}",
            f"{one.ece:.4f}",
            f"{one.calibration_ratio:.2f}",
        )
    return table


def _coded(log: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Text columns as categories, as an ingested log has them."""
    return log.astype(dict.fromkeys(schema.categorical, "category"))


if __name__ == "__main__":
    main()
