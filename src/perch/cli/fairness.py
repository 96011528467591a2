"""`perch fairness`: does each version treat the groups of people alike?"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final

from rich.markup import escape
from rich.table import Column, Table

from perch.cli.options import console
from perch.cli.target import Target
from perch.core.fairness import LEAST_CLICKS, MEASURES, SHARES, Figure
from perch.core.types import Arm
from perch.signals.fairness import ERROR, LEAST_USERS, Fairness, Group, Served, Told, largest, tell

_HOUR_S: Final = 3_600.0
_NAMES: Final[Mapping[str, str]] = {Arm.STABLE: "champion", Arm.BASELINE: "baseline", Arm.CANARY: "canary"}


def tell_fairness(target: Target, window_h: float, *, as_json: bool) -> None:
    """Print how groups fared in so many hours, and the largest gaps; raises `PlatformError` when nobody can tell."""
    with target.events() as client:
        fairness = client.fairness(time.time() - window_h * _HOUR_S)
    told = tell(fairness)
    if as_json:
        print(json.dumps(_plain(fairness, told), indent=2))  # noqa: T201  for programs
        return
    if not told:
        console.print(_why_nothing(fairness), soft_wrap=True)
        return
    for of, found in groupby(told, key=_side):
        groups = list(found)
        console.print(f"\n[bold]{escape(of)}[/]", highlight=False)
        console.print(_figures(groups))
        console.print(_gaps(groups), highlight=False)
    limits = target.declaration().spec.training.gates
    gates = {"calibration": limits.calibration_gap, "recall": limits.recall_gap, "selection": limits.selection_gap}
    console.print(f"\n{escape(_sentence(told, gates))}", highlight=False, soft_wrap=True)
    console.print(f"\n{_looked_at(fairness)}", highlight=False, soft_wrap=True)


def _why_nothing(fairness: Fairness) -> str:
    if not fairness.has_attributes:
        return (
            "No sensitive attribute of anybody is kept, so there are no groups. Tell them to the collector: see "
            "docs/how-to/watch-fairness-live.md."
        )
    if not fairness.served:
        return "No request of that time is older than its attribution window yet, so nothing can be told."
    if not any(one.named for one in fairness.served):
        return "No request of that time tells its user, so nobody's group is known: see events.userColumn."
    return (
        f"No sensitive attribute is known of {LEAST_USERS} users or more who came in that time, and of fewer nothing is"
        " told."
    )


def _figures(groups: Sequence[Told]) -> Table:
    table = Table(
        "", *(Column(name, justify="right") for name in ("users", "requests", *map(_said, MEASURES))), box=None
    )
    for one in groups:
        sums = one.group.sums
        figures = (_figure(name, one.figures.get(name)) for name in MEASURES)
        table.add_row(escape(_group(one)), f"{sums.users:,}", f"{sums.of('requests'):,.0f}", *figures)
    return table


def _figure(measure: str, figure: Figure | None) -> str:
    if figure is None:
        return ""
    times, unit = (100, "%") if measure in SHARES else (1, "")
    estimate, low, high = (f"{times * one:#.3g}".rstrip(".") for one in (figure.estimate, figure.low, figure.high))
    return f"{estimate}{unit}\n[dim]{low}-{high}{unit}[/]"


def _gaps(groups: Sequence[Told]) -> Table | str:
    worst = {name: one for name in MEASURES if (one := largest(groups, name)) is not None}
    if not worst:
        return f"  Nothing to compare: no group has {LEAST_CLICKS} clicks, or there is only one group."
    table = Table("\nlargest gap", "\ngroup", Column("\nfrom all", justify="right"), "", box=None)
    for name, one in worst.items():
        gap = one.gaps[name]
        table.add_row(_said(name), escape(_group(one)), f"{gap.estimate:+.0%}", f"({gap.low:+.0%} to {gap.high:+.0%})")
    return table


def _sentence(told: Sequence[Told], limits: Mapping[str, float]) -> str:
    """The gap that is proven to be the largest for what the gate allows."""
    worst = {name: one for name in limits if (one := largest(told, name)) is not None}
    if not worst:
        return f"No gap can be told: no attribute has two groups of which one has {LEAST_CLICKS} clicks."
    name = max(worst, key=lambda one: worst[one].gaps[one].proven / limits[one])
    gap, limit = worst[name].gaps[name], limits[name]
    verdict = "more than" if gap.proven > limit else "which is within"
    return (
        f"The {name} of {worst[name].group.attribute} {_group(worst[name])} with the {_version(worst[name].group)}, is "
        f"{gap.estimate:+.0%} off that of all; {gap.proven:.0%} are proven, {verdict} the {limit:.0%} that the gate"
        " allows."
    )


def _looked_at(fairness: Fairness) -> str:
    sides = (
        f"{_version(one)}: {one.requests:,} requests with final labels, {_time(one.from_s)} to {_time(one.until_s)}.\n"
        for one in fairness.served
    )
    return f"{escape(''.join(sides))}All intervals hold together at one look, with {1 - ERROR:.0%}."


def _time(time_s: float) -> str:
    return f"{datetime.fromtimestamp(time_s, tz=UTC):%Y-%m-%d %H:%M} UTC"


def _side(one: Told) -> str:
    return f"{_version(one.group)}, by {one.group.attribute}"


def _version(one: Group | Served) -> str:
    return f"{_NAMES.get(one.arm, one.arm)}, version {one.version}"


def _group(one: Told) -> str:
    return "others" if one.group.value is None else one.group.value


def _said(measure: str) -> str:
    return measure.replace("_", " ")


def _plain(fairness: Fairness, told: Sequence[Told]) -> dict[str, Any]:
    groups = [
        {
            **{name: getattr(one.group, name) for name in ("version", "arm", "attribute")},
            "group": one.group.value,
            "users": one.group.sums.users,
            "requests": one.group.sums.of("requests"),
            "clicks": one.group.sums.of("clicks"),
            "figures": {name: asdict(figure) for name, figure in one.figures.items()},
            "gaps": {name: asdict(gap) for name, gap in one.gaps.items()},
        }
        for one in told
    ]
    span = {"from_s": fairness.from_s, "until_s": fairness.until_s, "error": ERROR}
    return {**span, "served": [asdict(one) for one in fairness.served], "groups": groups}
