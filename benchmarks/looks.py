"""Draws why one may look every second: `python -m benchmarks.looks` renews `docs/images/looks.svg`.

A thousand rollouts of identical versions, half of the traffic each, for an hour. A z-test for failures at 1 % is asked
every second, and so is the engine, with all its metrics. The picture shows how many each has rolled back so far.
"""

from math import log
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from perch.core import Policy, begin, reference
from perch.core.many import Many
from perch.core.types import Arm, Phase
from perch.rehearsal.market import GRID, SLO, Behaviour, Floats, Market, Split, Traffic, always

REPLICATIONS = 1000
DURATION_S = 3600
_RPS = 100.0
_POLICY = Policy(shadow=False, start_weight=0.5, bake_s=1e8)
_BOTH = always(Behaviour(error_rate=0.02))
_CRITICAL = 2.326  # one-sided 1 %
_PICTURE = Path(__file__).parents[1] / "docs" / "images" / "looks.svg"
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 560.0, 30.0, 254.0


def first_rollbacks(console: Console) -> tuple[Floats, Floats]:
    """Second of the first false rollback by the z-test and by the engine, shape (R,) each; infinite for none."""
    market = Market(Traffic(_RPS, stable=_BOTH, canary=_BOTH), REPLICATIONS, seed=1)
    before = Market(Traffic(100_000.0), 1, 0).tick(Split.between(np.zeros(1)))[Arm.STABLE].counts(0)
    evaluated = (10_000,) * (len(GRID.score_logit) + 1)
    state = begin(_POLICY, SLO, reference(before, GRID, SLO, (evaluated, evaluated)), {Arm.STABLE, Arm.CANARY}, 0.0)
    many = Many([state] * REPLICATIONS, _POLICY)
    half = Split.between(np.full(REPLICATIONS, 0.5))
    sums = {arm: np.zeros((2, REPLICATIONS)) for arm in (Arm.STABLE, Arm.CANARY)}
    by_z, by_engine = np.full((2, REPLICATIONS), np.inf)
    for now_s in track(range(1, DURATION_S + 1), "simulating", console=console, transient=True):
        served = market.tick(half)
        for arm in sums:
            sums[arm] += served[arm].failed, served[arm].finished
        by_z[np.isinf(by_z) & (_z(*sums[Arm.CANARY], *sums[Arm.STABLE]) > _CRITICAL)] = now_s
        for i in many.step(float(now_s), served):
            if many.states[i].phase is Phase.DONE:
                by_engine[i] = now_s
    return by_z, by_engine


def _z(failed: Floats, of: Floats, failed_stable: Floats, of_stable: Floats) -> Floats:
    pooled = (failed + failed_stable) / np.maximum(of + of_stable, 1)
    spread = np.sqrt(np.maximum(pooled * (1 - pooled), 1e-12) * (1 / np.maximum(of, 1) + 1 / np.maximum(of_stable, 1)))
    return np.asarray((failed / np.maximum(of, 1) - failed_stable / np.maximum(of_stable, 1)) / spread)


def draw(by_z: Floats, by_engine: Floats) -> str:
    """The share rolled back over time, on a logarithmic axis, as SVG."""
    most = 5 * np.ceil(20 * max(np.isfinite(by_z).mean(), 0.05)) / 100
    grid = "".join(_level(share, most) for share in np.arange(0, most + 0.01, 0.1))
    ticks = "".join(_text(_x(t), 274, label, "middle") for t, label in _TIMES)
    lines = _line(by_z, most, "#d1242f", "z-test, asked every second") + _line(by_engine, most, "#1f883d", "Perch")
    promised = f'<path d="M{_LEFT} {_y(0.01, most):.1f} H{_RIGHT}" stroke="#768390" stroke-dasharray="5 4"/>'
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 790 300" width="790" height="300"'
        ' font-family="system-ui, sans-serif" role="img">\n'
        "<title>False rollbacks over time: a z-test that is asked every second, and the engine</title>\n"
        f"{grid}{promised}{_text(_RIGHT + 6, _y(0.01, most) - 10, '1 %: what both promise')}{ticks}{lines}</svg>\n"
    )


_TIMES = ((1, "1 s"), (10, "10 s"), (60, "1 min"), (600, "10 min"), (3600, "1 h"))


def _x(time_s: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * log(max(time_s, 1.0)) / log(DURATION_S)


def _y(share: float, most: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * share / most


def _level(share: float, most: float) -> str:
    y = _y(share, most)
    line = f'<path d="M{_LEFT} {y:.1f} H{_RIGHT}" stroke="#768390" stroke-opacity=".28"/>'
    return line + _text(_LEFT - 7, y + 4, f"{share:.0%}".replace("%", " %"), "end")


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = "#768390") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="12" text-anchor="{anchor}" fill="{colour}">{text}</text>\n'


def _line(first_s: Floats, most: float, colour: str, name: str) -> str:
    path, share = f"M{_LEFT} {_BOTTOM}", 0.0
    for time_s in np.sort(first_s[np.isfinite(first_s)]):
        share += 1 / len(first_s)
        path += f" H{_x(time_s):.1f} V{_y(share, most):.1f}"
    label = f"{name}: {share:.1%}".replace("%", " %")
    line = f'<path d="{path} H{_RIGHT}" fill="none" stroke="{colour}" stroke-width="2"/>\n'
    return line + _text(_RIGHT + 6, _y(share, most) + 4, label, colour=colour)


def main() -> None:
    """Simulate, draw, and print the two figures."""
    console = Console()
    by_z, by_engine = first_rollbacks(console)
    _PICTURE.write_text(draw(by_z, by_engine), encoding="utf-8")
    for name, first_s in (("z-test", by_z), ("Perch", by_engine)):
        shares = ", ".join(f"{(first_s <= limit_s).mean():.1%} after {label}" for limit_s, label in _TIMES[2:])
        console.print(f"{name}: rolled back {shares}")


if __name__ == "__main__":
    main()
