"""`perch rollout history`: all rollouts, as their ledgers tell them."""

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from perch.cli.options import console
from perch.cli.target import Target
from perch.rollout.history import Summary, history

_ROW = "{:<8} {:<8} {:<20} {:>8} {:>9,} {:>6,}  {}"
_HEAD = "rollout  version  began (UTC)            lasted  answered    bad  outcome"


def tell_history(target: Target, *, as_json: bool) -> None:
    """Print all rollouts that are recorded; ledgers that cannot be read are told beside them."""
    with target.ledgers() as folder:
        past = history(folder)
    if as_json:
        print(json.dumps([_plain(rollout) for rollout in past.rollouts], indent=2))  # noqa: T201  for programs
    elif past.rollouts:
        console.print(_HEAD, highlight=False)
        for rollout in past.rollouts:
            for line in _lines(rollout, newest=rollout is past.rollouts[0]):
                console.print(line, highlight=False, markup=False)
    else:
        console.print("No rollout can be told. Begin one with: perch rollout start")
    for sentence in past.unreadable:
        print(f"perch: {sentence}", file=sys.stderr)  # noqa: T201  beside what a program reads


def _plain(rollout: Summary) -> dict[str, Any]:
    served = asdict(rollout.served)
    return {key: value for key, value in asdict(rollout).items() if key != "served"} | served


def _lines(rollout: Summary, *, newest: bool) -> tuple[str, str]:
    """A line of facts under `_HEAD`, and one that says why."""
    outcome = rollout.outcome or ("in progress" if newest else "broken off")
    began = f"{datetime.fromtimestamp(rollout.began_s, tz=UTC):%Y-%m-%d %H:%M:%S}"
    lasted, served = timedelta(seconds=round(rollout.last_s - rollout.began_s)), rollout.served
    facts = _ROW.format(rollout.name, rollout.version, began, str(lasted), served.live, served.bad, outcome)
    return facts, f"{'':9}{rollout.sentence}"
