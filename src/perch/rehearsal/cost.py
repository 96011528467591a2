"""What a policy costs, in figures: each is counted over rehearsed rollouts, none is a formula.

A time that was never reached counts as longer than all others. So a median is that of all rollouts, not of the lucky
ones, and there is none (`None`) where half of them never came so far.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

import numpy as np

from perch.core import Policy, Slo
from perch.rehearsal.market import Floats, Ints, Mask
from perch.rehearsal.rehearse import Outcome

LIMIT_S = 3600.0
"""Simulated time after which a rollout that goes on is left."""

_LOOK_REQUESTS = 40.0
_SHORTEST_LOOK_S, _LONGEST_LOOK_S = 2.0, 30.0


@dataclass(frozen=True, slots=True)
class Good:
    """A canary that is as good as the champion. Times in seconds since the rollout began."""

    replications: int

    false_rollbacks: int
    """Rollouts that came home before their promotion."""

    promoted: float
    """Share of the rollouts, 0 to 1."""

    live_s: float | None
    """When the canary got live traffic, median."""

    full_s: float | None
    """When it had the largest weight, median."""

    promoted_s: float | None
    """Median."""

    promoted_p95_s: float | None

    shadow_outlasted: float
    """Share of the rollouts whose shadow stage lasted longer than `Policy.shadow_s`, for gross harm was possible."""

    waited_for: Mapping[str, float]
    """What came last before the promotion, or had not come in time: `shadow`, `bake`, `ramp`, `requests` or `proof`; or
    `data`, where the rollout was given up. Shares of the rollouts that did not come home."""


@dataclass(frozen=True, slots=True)
class Harm:
    """A canary with a fault, until it is home or promoted. Times in seconds since the rollout began."""

    fault: str

    mirrored: bool
    """Whether it began in the shadow stage."""

    replications: int

    found: float
    """Share that came home, 0 to 1."""

    promoted: float
    """Share that was promoted all the same."""

    bad_mean: float
    """Bad responses of the canary that users saw; its 95th percentile below."""

    bad_p95: float

    home_s: float | None
    """When it came home, median."""

    home_p95_s: float | None


@dataclass(frozen=True, slots=True)
class LateHarm:
    """Errors that begin some time after the promotion. Times in seconds since they began."""

    replications: int
    """0 where the guard's alarm rang in all before; then the shares and means are 0, too."""

    error_rate: float
    """What the champion's 0.1 % becomes, 0 to 1."""

    quiet_s: float
    """Time between the promotion and the first of them."""

    false_alarms: int
    """Further rollouts, in which the guard's alarm rang in that time."""

    found: float
    """Share that came home, 0 to 1."""

    bad_mean: float
    bad_p95: float

    alarmed_s: float | None
    """When most of the traffic was on the safe side, median."""

    alarmed_p95_s: float | None

    home_s: float | None
    """When the version was found to harm, median."""

    home_p95_s: float | None


@dataclass(frozen=True, slots=True)
class Cost:
    """All of it."""

    rps: float
    """Requests per second, all arms together."""

    slo: Slo
    policy: Policy
    good: Good

    late_harm: LateHarm | None
    """`None` where no good canary was promoted in time, so that there was nothing to guard."""

    harms: tuple[Harm, ...]
    """From gross to subtle."""


def good_canary(outcome: Outcome, policy: Policy, rps: float) -> Good:
    """Figures of rollouts whose canary is as good as the champion."""
    return Good(
        replications=outcome.replications,
        false_rollbacks=int(np.count_nonzero(outcome.home_s < inf)),
        promoted=_happened(outcome.promoted_s),
        live_s=_by(outcome.live_s, 0.5),
        full_s=_by(outcome.full_s, 0.5),
        promoted_s=_by(outcome.promoted_s, 0.5),
        promoted_p95_s=_by(outcome.promoted_s, 0.95),
        shadow_outlasted=float(np.mean(np.minimum(outcome.live_s, LIMIT_S) > policy.shadow_s + _look_s(rps))),
        waited_for=_waited_for(outcome, policy, rps),
    )


def harmful_canary(fault: str, outcome: Outcome, *, mirrored: bool) -> Harm:
    """Figures of rollouts whose canary has a fault."""
    return Harm(
        fault=fault,
        mirrored=mirrored,
        replications=outcome.replications,
        found=_happened(outcome.home_s),
        promoted=_happened(outcome.promoted_s),
        bad_mean=_mean(outcome.bad),
        bad_p95=_most(outcome),
        home_s=_by(outcome.home_s, 0.5),
        home_p95_s=_by(outcome.home_s, 0.95),
    )


def late_harm(outcome: Outcome, *, error_rate: float, quiet_s: float, false_alarms: int) -> LateHarm:
    """Figures of promoted versions that begin to fail."""
    return LateHarm(
        replications=outcome.replications,
        error_rate=error_rate,
        quiet_s=quiet_s,
        false_alarms=false_alarms,
        found=_happened(outcome.home_s),
        bad_mean=_mean(outcome.bad),
        bad_p95=_most(outcome),
        alarmed_s=_by(outcome.alarmed_s, 0.5),
        alarmed_p95_s=_by(outcome.alarmed_s, 0.95),
        home_s=_by(outcome.home_s, 0.5),
        home_p95_s=_by(outcome.home_s, 0.95),
    )


def _happened(times_s: Floats) -> float:
    return _mean(times_s < inf)


def _mean(values: Floats | Ints | Mask) -> float:
    return float(np.mean(values)) if values.size else 0.0


def _most(outcome: Outcome) -> float:
    if not outcome.replications:
        return 0.0
    return float(np.quantile(outcome.bad, 0.95, method="higher"))


def _by(times_s: Floats, share: float) -> float | None:
    """Time by which it had happened in this share of the rollouts; `None` where there are none."""
    if not times_s.size:
        return None
    time_s = float(np.quantile(times_s, share, method="higher"))
    return time_s if time_s < inf else None


def _waited_for(outcome: Outcome, policy: Policy, rps: float) -> dict[str, float]:
    """Which condition of the promotion was the last to be met, or was not met in time.

    All but the proof are seen from outside: what came later than the next look after them all has waited for that.
    """
    conditions = {
        "shadow": outcome.live_s,
        "bake": outcome.live_s + policy.bake_s,
        "ramp": outcome.full_s,
        "requests": outcome.enough_s,
    }
    names = (*conditions, "proof", "data")
    met_s = np.stack(list(conditions.values()))
    proven_late = np.minimum(outcome.promoted_s, LIMIT_S) > met_s.max(axis=0) + _look_s(rps)
    last = np.where(proven_late, names.index("proof"), met_s.argmax(axis=0))
    last[outcome.undecided_s < inf] = names.index("data")
    waited = last[outcome.home_s == inf]
    return {name: float(np.mean(waited == i)) for i, name in enumerate(names) if (waited == i).any()}


def _look_s(rps: float) -> float:
    """Until the next look: a batch of the counts waits for ten requests of one arm, or for half a minute."""
    return min(_SHORTEST_LOOK_S + _LOOK_REQUESTS / rps, _LONGEST_LOOK_S)
