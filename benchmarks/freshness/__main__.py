"""Compares when to train in a market that drifts: `make bench-freshness`, or `QUICK=1 make bench-freshness`."""

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

from benchmarks.freshness.market import Scenario
from benchmarks.freshness.policies import CHOOSERS
from benchmarks.freshness.report import sentences, table, write
from benchmarks.freshness.run import measure
from rich.console import Console
from rich.progress import track

from perch.world.settings import MarketSettings

_RESULTS = Path(__file__).parents[1] / "results"
_PROCESSES = 2
_WIDTH = 160

_SMALL = MarketSettings(
    users=1_000,
    new_users_per_day=30,
    ads=60,
    new_ads_per_day=6,
    advertisers=15,
    categories=6,
    sites=5,
    countries=5,
    mean_ctr=0.1,
    unknown_interest=0.02,
    taste_drift=0.1,
)
"""A market small enough to be learned from two days, whose tastes change by a tenth each day."""

FULL = Scenario(impressions_per_day=50_000, warm_days=7, live_days=10, broken_h=(100, 112), settings=_SMALL)
QUICK = Scenario(impressions_per_day=20_000, warm_days=4, live_days=3, broken_h=(36, 48), settings=_SMALL)


def main() -> int:
    """Measure, print and write; returns the exit code."""
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    quick = os.environ.get("QUICK", "") not in {"", "0"}
    scenario, seeds = (QUICK, [1]) if quick else (FULL, [1, 2, 3])
    jobs = [(scenario, name, seed) for seed in seeds for name in CHOOSERS]
    began_s = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(_PROCESSES, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        results = []
        try:
            for result in track(pool.imap(measure, jobs), "simulating", len(jobs), console=console, transient=True):
                results.append(result)
                console.print(f"{result.chooser}, seed {result.seed}: {result.regret:,.0f} lost, {result.runs} runs")
        except KeyboardInterrupt:
            console.print("Stopped. Nothing was written.")
            return 130
    console.print(table(results), *sentences(results), sep="\n")
    if quick:
        console.print("Quick: one seed and three days; nothing was written.")
    else:
        write(results, _RESULTS / "freshness.json")
    console.print(f"{len(results)} markets in {time.monotonic() - began_s:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
