"""A rollout drawn as one SVG: who served over time, and below it, on the same time axis, the evidence of harm."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from perch.ui.markup import Markup, el
from perch.ui.record import EvidencePoint, RolloutRecord, WeightPoint

ROLLBACK_E_VALUE = 100.0
"""Evidence at which a canary is rolled back with the default `alpha` of 1 %."""

ARMS = ("stable", "baseline", "canary")
"""From the bottom of the stack to its top."""

_WIDTH, _LEFT, _RIGHT = 860.0, 46.0, 62.0
_TOP, _WEIGHTS_HEIGHT, _GAP, _EVIDENCE_HEIGHT, _AXIS = 10.0, 130.0, 30.0, 110.0, 26.0
_MAX_LOG10 = 4.0


@dataclass(frozen=True, slots=True)
class _Panel:
    """A rectangle of the drawing with a time axis and a scale from 0 (bottom) to 1 (top)."""

    top: float
    height: float
    duration_s: float

    def x(self, t_s: float) -> float:
        share = min(max(t_s / self.duration_s, 0.0), 1.0)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, share: float) -> float:
        return self.top + (1 - share) * self.height

    @property
    def bottom(self) -> float:
        return self.top + self.height


def rollout_chart(rollout: RolloutRecord) -> Markup:
    """The weights as stacked steps and the evidence on a logarithmic scale, `viewBox` 860 wide."""
    times_s = [*(point.t_s for point in rollout.weights), *(point.t_s for point in rollout.evidence)]
    duration_s = max(rollout.seconds, *times_s, 1.0)
    weights = _Panel(_TOP, _WEIGHTS_HEIGHT, duration_s)
    evidence = _Panel(weights.bottom + _GAP, _EVIDENCE_HEIGHT, duration_s)
    return el(
        "svg",
        el("title", f"{rollout.title}: traffic and evidence over {duration_s:.0f} s"),
        *_weights(weights, rollout.weights),
        *_evidence(evidence, rollout.evidence),
        *_promotion(weights, evidence, rollout.promoted_at_s),
        *_time_axis(evidence),
        viewBox=f"0 0 {_WIDTH:.0f} {evidence.bottom + _AXIS:.0f}",
        role="img",
    )


def _text(x: float, y: float, words: str, *, anchor: str = "start", class_: str | None = None) -> Markup:
    return el("text", words, x=x, y=y, text_anchor=anchor, class_=class_)


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return el("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def _path(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    return el("path", d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points), class_=class_)


def _held(panel: _Panel, points: Sequence[WeightPoint]) -> Iterator[tuple[WeightPoint, float]]:
    """Each point with the time until which its weights were in force."""
    return zip(points, [*(later.t_s for later in points[1:]), panel.duration_s], strict=True)


def _steps(
    panel: _Panel, points: Sequence[WeightPoint], share: Callable[[WeightPoint], float]
) -> list[tuple[float, float]]:
    """The corners of a line that holds each value until the next point."""
    return [
        (panel.x(t_s), panel.y(share(point))) for point, end_s in _held(panel, points) for t_s in (point.t_s, end_s)
    ]


def _stacked(top: int) -> Callable[[WeightPoint], float]:
    return lambda point: sum(getattr(point, arm) for arm in ARMS[:top])


def _weights(panel: _Panel, points: Sequence[WeightPoint]) -> list[Markup]:
    if not points:
        return [_text(panel.x(0), panel.y(0.5), "No weights were recorded.")]
    areas = [
        _path(_steps(panel, points, _stacked(i + 1)) + _steps(panel, points, _stacked(i))[::-1], f"area {arm}")
        for i, arm in enumerate(ARMS)
    ]
    mirrored = [
        _line(panel.x(point.t_s), panel.y(point.mirror), panel.x(end_s), panel.y(point.mirror), "mirror")
        for point, end_s in _held(panel, points)
        if point.mirror
    ]
    return [
        *(_gridline(panel, share, f"{share:.0%}") for share in (0.0, 0.5, 1.0)),
        *areas,
        *mirrored,
    ]


def _gridline(panel: _Panel, share: float, label: str, class_: str = "grid") -> Markup:
    y = panel.y(share)
    return el(
        "g",
        _line(_LEFT, y, _WIDTH - _RIGHT, y, class_),
        _text(_LEFT - 6, y + 4, label, anchor="end"),
    )


def _log_share(e_value: float) -> float:
    """Place of an e-value between 1 (bottom) and 10,000 (top)."""
    return min(max(math.log10(max(e_value, 1.0)) / _MAX_LOG10, 0.0), 1.0)


def _evidence(panel: _Panel, points: Sequence[EvidencePoint]) -> list[Markup]:
    decisive_y = panel.y(_log_share(ROLLBACK_E_VALUE))
    scale = [
        _gridline(panel, exponent / _MAX_LOG10, f"{10**exponent:,}") for exponent in range(0, 5, 2) if exponent != 2
    ]
    return [
        *scale,
        _gridline(panel, _log_share(ROLLBACK_E_VALUE), f"{ROLLBACK_E_VALUE:.0f}", "decisive"),
        _text(_WIDTH - _RIGHT + 6, decisive_y + 4, "roll back", class_="decisive-label"),
        *([_path([(panel.x(p.t_s), panel.y(_log_share(p.e_value))) for p in points], "evidence")] if points else []),
        *(
            el("circle", cx=panel.x(p.t_s), cy=panel.y(_log_share(p.e_value)), r=4.0, class_="harm")
            for before, p in pairwise(points)
            if p.verdict == "harm" != before.verdict
        ),
    ]


def _promotion(weights: _Panel, evidence: _Panel, at_s: float | None) -> list[Markup]:
    if at_s is None:
        return []
    x = weights.x(at_s)
    return [
        _line(x, weights.top, x, evidence.bottom, "promotion"),
        _text(x + 5, weights.bottom + _GAP / 2 + 4, "promoted", class_="promotion-label"),
    ]


def _time_axis(panel: _Panel) -> list[Markup]:
    step_s = _nice_step(panel.duration_s / 6)
    ticks = range(int(panel.duration_s / step_s) + 1)
    return [_text(panel.x(i * step_s), panel.bottom + 18, f"{i * step_s:g} s", anchor="middle") for i in ticks]


def _nice_step(at_least_s: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, ... seconds that is not below `at_least_s`."""
    magnitude = 10.0 ** math.floor(math.log10(at_least_s)) if at_least_s >= 1 else 1.0
    return next(magnitude * m for m in (1, 2, 5, 10) if magnitude * m >= at_least_s)
