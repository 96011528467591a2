"""The comparison as a table, and the bar that the default policy has to clear."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

from benchmarks.freshness.policies import CHOOSERS
from benchmarks.freshness.run import Result
from rich.table import Table

_MOST_REGRET = 0.5
_MOST_RUNS = 0.25


def of(results: Sequence[Result], chooser: str) -> list[Result]:
    """The results of one way to decide, by seed."""
    return sorted((one for one in results if one.chooser == chooser), key=lambda one: one.seed)


def table(results: Sequence[Result]) -> Table:
    """A line for each way to decide."""
    made = Table(
        "when to train",
        "clicks lost",
        "of never's",
        "of all possible",
        "runs",
        "refused",
        "by seed: lost / runs",
        box=None,
    )
    never = fmean(one.regret for one in of(results, "never"))
    for chooser in CHOOSERS:
        mine = of(results, chooser)
        lost = fmean(one.regret for one in mine)
        made.add_row(
            chooser,
            f"{lost:,.0f}",
            f"{lost / never:.0%}",
            f"{lost / fmean(one.clicks_possible for one in mine):.1%}",
            f"{fmean(one.runs for one in mine):.1f}",
            f"{fmean(one.refused for one in mine):.1f}",
            ", ".join(f"{one.regret:,.0f} / {one.runs}" for one in mine),
        )
    return made


def sentences(results: Sequence[Result]) -> list[str]:
    """The bar, the broken feed and the rate of exchange, with their numbers."""
    lost = {name: fmean(one.regret for one in of(results, name)) for name in CHOOSERS}
    runs = {name: fmean(one.runs for one in of(results, name)) for name in CHOOSERS}
    regret, part = lost["default"] / lost["never"], runs["default"] / runs["hourly"]
    met = "met" if regret <= _MOST_REGRET and part <= _MOST_RUNS else "MISSED"
    refused = sum(one.refused_while_broken for one in results)
    released = sum(one.released_while_broken for one in results)
    saved = (lost["never"] - lost["default"]) / (lost["never"] - lost["hourly"])
    unknowable = fmean(one.unknowable for one in results) / lost["never"]
    hourly = lost["hourly"] / lost["never"]
    bar = f"at most {_MOST_REGRET:.0%} and {_MOST_RUNS:.0%}"
    return [
        f"Bar {met}: the default loses {regret:.0%} of never's clicks, with {part:.1%} of the hourly runs ({bar}).",
        f"Training every hour loses {hourly:.0%}; of what that saves, the default saves {saved:.0%}.",
        f"Nobody saves {unknowable:.0%}: no column tells what is needed.",
        f"While the feed was broken, {refused} runs were refused for it, and {released} models were released on it.",
        f"One click is lost for {1 / exchange(results):.2f} nats of excess log loss of what is shown.",
    ]


def exchange(results: Sequence[Result]) -> float:
    """Clicks lost for each nat of excess log loss, from what never training has more of than hourly training."""
    never, hourly = of(results, "never"), of(results, "hourly")
    clicks = fmean(one.regret for one in never) - fmean(one.regret for one in hourly)
    return clicks / (fmean(one.divergence for one in never) - fmean(one.divergence for one in hourly))


def write(results: Sequence[Result], path: Path) -> None:
    """Keep the results."""
    path.write_text(json.dumps([asdict(one) for one in results], indent=1) + "\n", encoding="utf-8")
