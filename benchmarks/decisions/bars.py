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
    """A limit that a figure must keep in several scenarios; the worst of them counts.

    A figure tells nothing of an engine that does nothing: bad responses are counted until a promotion, and seconds only
    of those that came to the right end. So enough of them have to.
    """

    asked: str
    engine: str
    scenarios: Collection[str]
    """By their keys."""

    figure: str
    """Name of an attribute of `Result`; where that is `None` the bar is missed."""

    most: float = inf
    least: float = -inf
    """One of the two limits is given."""

    right_end: str | None = "gone_home"
    """Name of the share of `Result` that came to the right end; `None`: there is no right one."""

    least_right: float = 0.95
    """How large that share has to be."""

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

    is_whole: bool
    """Whether all its scenarios were run."""

    @property
    def figure(self) -> float | None:
        """What was measured there."""
        return _figure(self.bar, self.worst) if self.worst else None

    @property
    def too_few(self) -> str | None:
        """How many came to the right end, for a person, if that is the reason why the bar was missed."""
        if self.worst is None or _right(self.bar, self.worst) >= self.bar.least_right:
            return None
        return f"only {_right(self.bar, self.worst):.1%} {self.bar.right_end}".replace("%", " %").replace("_", " ")

    @property
    def met(self) -> bool:
        """Whether the bar was kept; where a part of its scenarios was not run nobody knows."""
        return self.is_whole and self.worst is not None and not self.missed

    @property
    def missed(self) -> bool:
        """Whether a result breaks the bar."""
        return self.worst is not None and _excess(self.bar, self.worst) > 0


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
        *_ours("good canaries rolled back", no_fault, "gone_home", _FALSE, right_end=None),
        Bar("bad responses at 5 % errors, mean", "perch", five, "bad_mean", most=4),
        Bar("bad responses at 5 % errors, 95th percentile", "perch", five, "bad_p95", most=6),
        Bar("bad responses at 5 % errors, mean", "perch-shadow", five, "bad_mean", most=0),
        *(_beside_floor(percent) for percent in (1, 5, 50)),
        *_ours("seconds until constant scores go home", [constant], "median_s", most=10),
        *_ours("requests that a silent canary loses", silent, "bad_mean", most=10),
        Bar("seconds until a 5 % worse log loss goes home, labels mature", "perch-shadow", log_loss, "median_s", 180),
        *_ours("seconds until a good canary is promoted", [_PROMOTED], "median_s", 200, right_end="promoted"),
        Bar("1 % errors found at 1 rps", "perch-shadow", [key(_ONE_PERCENT, 1.0)], "rolled_back", least=0.95),
        *_slow_degradation(results),
        *_after_promotion(),
    ]


def _ours(
    asked: str,
    keys: Collection[str],
    figure: str,
    most: float,
    *,
    right_end: str | None = "gone_home",
    least_right: float = 0.95,
) -> list[Bar]:
    return [Bar(asked, name, keys, figure, most, right_end=right_end, least_right=least_right) for name in OURS]


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
        Bar("seconds from a step to 5 % errors to the rollback", "perch", step, "median_s", most=8, least_right=0.99),
        Bar("promoted, and exonerated in a common incident", "perch", incident, "kept", least=0.99, right_end=None),
        Bar("promoted, and an alarm in six quiet hours", "perch", quiet, "alarmed", most=_FALSE, right_end=None),
    ]


def _slow_degradation(results: Sequence[Result]) -> list[Bar]:
    """No more bad responses than the best peer while errors grow.

    Whoever is compared, we too, sends 99 % of those canaries home: the count ends at a promotion. And no more than 1 %
    of the good ones on the same traffic, or it needs no fault to do so; for us that is the first of the bars.
    """
    false = {r.engine for r in results if r.key == _PROMOTED and r.gone_home > _FALSE}
    peers = [r for r in results if r.key == _GROWING and r.engine not in {*OURS, *false} and r.gone_home >= 1 - _FALSE]
    if not peers:
        return []
    best = min(peers, key=lambda r: r.bad_mean)
    asked = f"bad responses while errors grow, as {best.engine}"
    return _ours(asked, [_GROWING], "bad_mean", best.bad_mean, least_right=1 - _FALSE)


def _judged(bar: Bar, results: Sequence[Result]) -> Judgement:
    found = [r for r in results if r.engine == bar.engine and r.key in bar.scenarios]
    worst = max(found, key=lambda r: _excess(bar, r), default=None)
    return Judgement(bar, worst, is_whole={r.key for r in found} == set(bar.scenarios))


def _figure(bar: Bar, result: Result) -> float | None:
    figure: float | None = getattr(result, bar.figure)
    return figure


def _right(bar: Bar, result: Result) -> float:
    share: float = getattr(result, bar.right_end) if bar.right_end else 1.0
    return share


def _excess(bar: Bar, result: Result) -> float:
    """By how much a result passes the limit; 0 and below: not at all."""
    figure = _figure(bar, result)
    if figure is None or _right(bar, result) < bar.least_right:
        return inf
    return max(figure - bar.most, bar.least - figure)
