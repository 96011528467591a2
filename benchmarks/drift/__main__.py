"""Prints all of it: `make bench-drift`, a quarter of an hour; with QUICK=1, two minutes."""

import json
import os
from pathlib import Path

from benchmarks.drift import alarms, breaks, concept, speed

RESULTS = Path(__file__).parents[1] / "results" / "drift.json"


def main():
    quick = bool(os.environ.get("QUICK"))
    figures = {
        "speed": speed.tell(quick=quick),
        "alarms": alarms.tell(weeks=0.1 if quick else 2),
        "breaks": breaks.tell(seeds=1 if quick else 4),
        "concept": concept.tell(seeds=2 if quick else 20),
    }
    if not quick:
        RESULTS.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


main()
