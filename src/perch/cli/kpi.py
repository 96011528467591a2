"""`perch kpi`: what each version earns, and how much more than the one beside it."""

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich.table import Column, Table

from perch.cli.options import console
from perch.cli.target import Target
from perch.core.lift import LEAST_SALES, Earned, Lift, lift_of_events, lift_of_revenue
from perch.core.types import Arm
from perch.signals.earnings import Earning, Side, latest, strata, total

_ERROR: Final = 0.05
"""Probability that an interval ever misses the truth."""

_DAY_S: Final = 86_400.0
_NAMES: Final = {Arm.STABLE: "champion", Arm.BASELINE: "baseline", Arm.CANARY: "canary"}


def tell_kpi(target: Target, days: float, *, as_json: bool) -> None:
    """Print what each side earned in so many days, and the lifts; raises `PlatformError` when nobody can tell."""
    with target.events() as client:
        earnings = client.earnings(time.time() - days * _DAY_S)
    sides = [side for arm in _NAMES if (side := latest(earnings, arm)) is not None]
    if as_json:
        print(json.dumps(_plain(earnings, sides), indent=2))  # noqa: T201  for programs
        return
    if not sides:
        console.print("No request is older than its attribution window yet, so nothing can be told.")
        return
    console.print(_table(earnings, sides))
    for line in _sentences(earnings, sides):
        console.print(line, highlight=False, soft_wrap=True)


def _table(earnings: Sequence[Earning], sides: Sequence[Side]) -> Table:
    right = ("requests", "clicks", "CTR", "sales", "of clicks", "revenue", "per 1,000 requests")
    table = Table("", *(Column(name, justify="right") for name in right), box=None)
    for side in sides:
        earned = total(earnings, side)
        table.add_row(_name(side), *_figures(earned))
    return table


def _figures(earned: Earned) -> tuple[str, ...]:
    return (
        f"{earned.requests:,}",
        f"{earned.clicks:,}",
        f"{earned.clicks / earned.requests:.2%}",
        f"{earned.sales:,}",
        f"{earned.sales / earned.clicks:.2%}" if earned.clicks else "",
        f"{earned.revenue:,.2f}",
        f"{1_000 * earned.revenue / earned.requests:,.2f}",
    )


def _name(side: Side) -> str:
    return f"{_NAMES[side.arm]}, version {side.version}"


def _pairs(sides: Sequence[Side]) -> Iterator[tuple[Side, Side]]:
    """What is compared: the champion with the baseline that is held out for it, and the canary with the champion."""
    by_arm = {side.arm: side for side in sides}
    for arm, other in ((Arm.STABLE, Arm.BASELINE), (Arm.CANARY, Arm.STABLE)):
        if arm in by_arm and other in by_arm and by_arm[arm].version != by_arm[other].version:
            yield by_arm[arm], by_arm[other]


def _lifts(earnings: Sequence[Earning], side: Side, other: Side) -> dict[str, Lift | None]:
    both = strata(earnings, side, other)

    def of_events(name: str) -> Lift | None:
        split = [
            (
                one.arm.requests / (one.arm.requests + one.other.requests),
                getattr(one.arm, name),
                getattr(one.other, name),
            )
            for one in both
        ]
        return lift_of_events(split, _ERROR)

    return {"clicks": of_events("clicks"), "sales": of_events("sales"), "revenue": lift_of_revenue(both, _ERROR)}


def _sentences(earnings: Sequence[Earning], sides: Sequence[Side]) -> Iterator[str]:
    pairs = list(_pairs(sides))
    for side, other in pairs:
        yield f"\n[bold]{_name(side)}, over {_name(other)}[/], where both answered:"
        lifts = _lifts(earnings, side, other)
        for name in ("clicks", "sales"):
            yield f"  {name} for each request  {_ratio(lifts[name])}"
        yield f"  revenue per 1,000 requests  {_difference(lifts['revenue'])}"
    if pairs:
        yield f"\nIntervals hold at every look together, with {1 - _ERROR:.0%}: look as often as you like."
    else:
        yield (
            "\nNothing to compare: only one version answered. spec.policy.baselineShare is the share of the traffic"
            " that is held out for the baseline, so that the champion's worth can be known."
        )


def _ratio(lift: Lift | None) -> str:
    return "none yet" if lift is None else f"{lift.estimate:+.1%}  ({lift.low:+.1%} to {lift.high:+.1%})"


def _difference(lift: Lift | None) -> str:
    if lift is None:
        return f"not said below {LEAST_SALES} sales of each"
    estimate, low, high = (1_000 * one for one in (lift.estimate, lift.low, lift.high))
    return f"{estimate:+,.2f}  ({low:+,.2f} to {high:+,.2f})"


def _plain(earnings: Sequence[Earning], sides: Sequence[Side]) -> dict[str, Any]:
    told = [{"arm": side.arm, "version": side.version, **_fields(total(earnings, side))} for side in sides]
    lifts = [
        {
            "of": {"arm": side.arm, "version": side.version},
            "over": {"arm": other.arm, "version": other.version},
            **{name: None if lift is None else _fields(lift) for name, lift in _lifts(earnings, side, other).items()},
        }
        for side, other in _pairs(sides)
    ]
    return {"earned": told, "lifts": lifts, "error": _ERROR}


def _fields(one: Earned | Lift) -> dict[str, float]:
    return {name: getattr(one, name) for name in one.__slots__}
