"""What our engine has to reach, and whether it did: each bar with its figure, and with a reason where it was missed."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf

from benchmarks.decisions.bounds import wald_floor, why_above_floor
from benchmarks.decisions.engines import OURS
from benchmarks.decisions.run import Result
from benchmarks.decisions.scenarios import key, scenarios

_FACTOR = 2  # of Wald's floor
_RATES = (10.0, 100.0, 1000.0)
_FALSE = 0.01
_ONE_PERCENT = "S1 errors 0.1 % to 1 %"
_GROWING = key("S5 errors grow to 5 % from 60 to 660 s", 100.0)
_PROMOTED = key("S0 no fault, promoted when proven", 100.0)


@dataclass(frozen=True, slots=True)
class Bar:
    """A limit that a figure must keep in several scenarios; the worst of them counts."""

    asked: str
    engine: str
    scenarios: Collection[str]
    """By their keys."""

    figure: str
    """Name of an attribute of `Result`; where that is `None` the bar is missed."""

    most: float = inf
    least: float = -inf
    """One of the two limits is given."""

    why_missed: Callable[[], str] = field(default=lambda: "no bound known")
    """What forbids to keep it, as far as that is known."""

    @property
    def limit(self) -> str:
        """The limit, for a person."""
        return f"≤ {self.most:.4g}" if self.most < inf else f"≥ {self.least:.4g}"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A bar, and the result that comes closest to missing it; `None`: none of its scenarios was run."""

    bar: Bar
    worst: Result | None

    @property
    def figure(self) -> float | None:
        """What was measured there."""
        return _figure(self.bar, self.worst) if self.worst else None

    @property
    def met(self) -> bool:
        """Whether the bar was kept; where nothing was run it was not."""
        return self.worst is not None and _excess(self.bar, self.worst) <= 0


def judge(results: Sequence[Result]) -> list[Judgement]:
    """Hold results against all bars."""
    return [_judged(bar, results) for bar in bars(results)]


def bars(results: Sequence[Result]) -> list[Bar]:
    """All bars; that of the slow degradation is set by the peers, and not there without them."""
    no_fault = [s.key for s in scenarios() if not s.harmful and s.traffic.rps]
    five = [key("S1 errors 0.1 % to 5 %", rps) for rps in _RATES]
    silent = [key("S6 silent canary", rps) for rps in (10.0, 100.0)]
    constant, log_loss = key("S4 scores constant", 100.0), [key("S3 log loss 5 % worse, labels required", 100.0)]
    return [
        *_ours("good canaries rolled back", no_fault, "gone_home", most=_FALSE),
        Bar("bad responses at 5 % errors, mean", "perch", five, "bad_mean", most=4),
        Bar("bad responses at 5 % errors, 95th percentile", "perch", five, "bad_p95", most=6),
        Bar("bad responses at 5 % errors, mean", "perch-shadow", five, "bad_mean", most=0),
        *(_beside_floor(percent) for percent in (1, 5, 50)),
        *_ours("seconds until constant scores go home", [constant], "median_s", most=10),
        *_ours("requests that a silent canary loses", silent, "bad_mean", most=10),
        Bar("seconds until a 5 % worse log loss goes home, labels mature", "perch-shadow", log_loss, "median_s", 180),
        Bar("canaries with a 5 % worse log loss gone home", "perch-shadow", log_loss, "rolled_back", least=0.95),
        *_ours("seconds until a good canary is promoted", [_PROMOTED], "median_s", most=200),
        Bar("1 % errors found at 1 rps", "perch-shadow", [key(_ONE_PERCENT, 1.0)], "rolled_back", least=0.95),
        *_slow_degradation(results),
        *_after_promotion(),
    ]


def _ours(asked: str, keys: Collection[str], figure: str, most: float) -> list[Bar]:
    return [Bar(asked, engine, keys, figure, most) for engine in OURS]


def _beside_floor(percent: int) -> Bar:
    rate, rps = percent / 100, 100.0
    most = _FACTOR * wald_floor(rate)
    return Bar(
        f"bad responses at {percent} % errors, {_FACTOR} x Wald's floor",
        "perch",
        [key(f"S1 errors 0.1 % to {percent} %", rps)],
        "bad_mean",
        most=most,
        why_missed=partial(why_above_floor, rate, rps, most),
    )


def _after_promotion() -> list[Bar]:
    step, incident, quiet = (
        [key(f"{name} after promotion", 100.0)]
        for name in ("S5 errors step to 5 %", "S7 incident in both arms", "S0 quiet")
    )
    return [
        Bar("seconds from a step to 5 % errors to the rollback", "perch", step, "median_s", most=8),
        Bar("promoted, and rolled back after a step to 5 %", "perch", step, "rolled_back", least=0.99),
        Bar("promoted, and exonerated in a common incident", "perch", incident, "kept", least=0.99),
        Bar("promoted, and an alarm in six quiet hours", "perch", quiet, "alarmed", most=_FALSE),
    ]


def _slow_degradation(results: Sequence[Result]) -> list[Bar]:
    """No more bad responses than the best peer while errors grow.

    A peer is left out that promotes more than 1 % of those canaries, for its count ends there; and one that rolls back
    more than 1 % of the good ones on the same traffic: it needs no fault to send a canary home.
    """
    wrong = {r.engine for r in results if r.key == _PROMOTED and r.gone_home > _FALSE}
    wrong |= {r.engine for r in results if r.key == _GROWING and r.promoted > _FALSE}
    peers = [r for r in results if r.key == _GROWING and r.engine not in {*OURS, *wrong}]
    if not peers:
        return []
    best = min(peers, key=lambda r: r.bad_mean)
    return _ours(f"bad responses while errors grow, as {best.engine}", [_GROWING], "bad_mean", best.bad_mean)


def _judged(bar: Bar, results: Sequence[Result]) -> Judgement:
    found = [r for r in results if r.engine == bar.engine and r.key in bar.scenarios]
    return Judgement(bar, max(found, key=lambda r: _excess(bar, r), default=None))


def _figure(bar: Bar, result: Result) -> float | None:
    figure: float | None = getattr(result, bar.figure)
    return figure


def _excess(bar: Bar, result: Result) -> float:
    """By how much a result passes the limit; 0 and below: not at all."""
    figure = _figure(bar, result)
    if figure is None:
        return inf
    return max(figure - bar.most, bar.least - figure)
