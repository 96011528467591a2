"""Compares all engines in all scenarios: `make bench-decisions`, or `QUICK=1 make bench-decisions` for a first look."""

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

from benchmarks.decisions.engines import ENGINES
from benchmarks.decisions.plan import FULL, QUICK, measure
from benchmarks.decisions.report import tables, write
from rich.console import Console
from rich.progress import track

_RESULTS = Path(__file__).parents[1] / "results" / "decisions.json"
_PROCESSES = 2
_WIDTH = 200


def main() -> int:
    """Measure, print and write; returns the exit code."""
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    quick = os.environ.get("QUICK", "") not in {"", "0"}
    plan = QUICK if quick else FULL
    scenarios = plan.scenarios()
    jobs = [(plan, engine, key) for key in scenarios for engine in ENGINES]
    began_s = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(_PROCESSES, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        done = pool.imap(measure, jobs)
        try:
            results = list(track(done, "simulating", total=len(jobs), console=console, transient=True))
        except KeyboardInterrupt:
            console.print("Stopped. Nothing was written.")
            return 130
    for table in tables(results, scenarios, list(ENGINES)):
        console.print(table)
    write(results, _RESULTS)
    if quick:
        console.print(
            f"Quick: {plan.replications} replications of {plan.longest_s} simulated seconds, at {plan.fastest_rps:g}"
            " requests a second only. Shares below some percent are noise; what takes longer shows as held."
        )
    took_s = time.monotonic() - began_s
    console.print(f"{len(results)} results in {took_s:.0f} s, written to {os.path.relpath(_RESULTS)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
