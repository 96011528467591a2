"""Compares all engines in all scenarios: `make bench-decisions`, or `QUICK=1 make bench-decisions` for a first look."""

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

from benchmarks.decisions.bars import judge
from benchmarks.decisions.engines import ENGINES
from benchmarks.decisions.guarded import GuardedResult
from benchmarks.decisions.plan import FULL, QUICK, measure
from benchmarks.decisions.pods import PodResult
from benchmarks.decisions.report import alone_table, bars_table, guarded_table, missed, tables, write
from rich.console import Console
from rich.progress import track

_RESULTS = Path(__file__).parents[1] / "results"
_PROCESSES = 2
_WIDTH = 200


def main() -> int:
    """Measure, print and write; returns the exit code."""
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    quick = os.environ.get("QUICK", "") not in {"", "0"}
    plan = QUICK if quick else FULL
    scenarios = plan.scenarios()
    jobs = [(plan, "perch", key) for key in plan.after_promotion()]
    jobs += [(plan, "", name) for name in plan.one_by_one()]
    jobs += [(plan, engine, key) for key in scenarios for engine in ENGINES]
    began_s = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(_PROCESSES, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        done = pool.imap(measure, jobs)
        try:
            results = list(track(done, "simulating", total=len(jobs), console=console, transient=True))
        except KeyboardInterrupt:
            console.print("Stopped. Nothing was written.")
            return 130
    after_promotion = [result for result in results if isinstance(result, GuardedResult)]
    alone = [result for result in results if result.scenario in plan.one_by_one()]
    judgements = judge(results)
    console.print(*tables(results, scenarios, list(ENGINES)), alone_table(alone), sep="\n")
    console.print(guarded_table(after_promotion), bars_table(judgements), sep="\n")
    for sentence in missed(judgements):
        console.print(sentence)
    write(results, _RESULTS / "decisions.json")
    write(after_promotion, _RESULTS / "guard.json", GuardedResult)
    write([result for result in alone if isinstance(result, PodResult)], _RESULTS / "pods.json", PodResult)
    if quick:
        console.print(
            f"Quick: {plan.harmless} replications ({plan.alone} of S3 and S8) of {plan.longest_s} simulated seconds,"
            f" at {plan.fastest_rps:g} requests a second only. Shares below some percent are noise; what takes longer"
            " shows as held."
        )
    took_s = time.monotonic() - began_s
    console.print(f"{len(results)} results in {took_s:.0f} s, written to {os.path.relpath(_RESULTS)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
