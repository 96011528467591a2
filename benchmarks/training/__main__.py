"""`make bench-training`; `QUICK=1 make bench-training` trains on a tenth of the log under the same limit."""

import json
import os
from pathlib import Path

from benchmarks.training import outofcore, speed
from rich.console import Console
from rich.table import Table

_RESULTS = Path(__file__).parents[1] / "results" / "training.json"
_LEAST_RATIO = 0.7
_MOST_EXCESS = 0.01


def main() -> None:
    """Measure, print and write."""
    console, quick = Console(), os.environ.get("QUICK", "") not in {"", "0"}
    fast = speed.measure()
    table = Table("rows a second", "", box=None)
    for stage, rate in fast["stages"].items():
        table.add_row(f"{stage} (of the log)", f"{rate:,.0f}")
    table.add_row("from the Parquet file to the package (of the log)", f"{fast['whole_rows_per_s']:,.0f}")
    table.add_row("our fit (of the rows learnt)", f"{fast['fit_rows_per_s']:,.0f}")
    table.add_row("lightgbm.train (of the rows learnt)", f"{fast['lightgbm_rows_per_s']:,.0f}")
    console.print(table)
    console.print(f"Our fit reads {fast['ratio']:.0%} of LightGBM's rows; at least {_LEAST_RATIO:.0%} are asked.")
    big = outofcore.measure(outofcore.IMPRESSIONS // 10 if quick else outofcore.IMPRESSIONS)
    console.print(
        f"{big['impressions']:,} impressions: {big['frame_bytes'] / 2**30:.1f} GiB in memory, "
        f"{big['file_bytes'] / 2**30:.1f} GiB as a file; limit {big['limit_bytes'] / 2**20:.0f} MiB."
    )
    for kind, loss in big["log_loss"].items():
        console.print(
            f"{kind}: log loss {loss['limited']:.5f} within the limit, {loss['free']:.5f} without: "
            f"{loss['excess']:+.2%}; at most {_MOST_EXCESS:+.0%} is asked."
        )
    _RESULTS.write_text(json.dumps({"speed": fast, "out_of_core": big}, indent=1) + "\n")


if __name__ == "__main__":
    main()
