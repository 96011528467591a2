"""Rehearses a policy: a good canary, canaries with faults, and a version that begins to fail after its promotion.

Bounded by time. Each question first gets a few rollouts, and then as many more as its part of the time allows, so a
figure says on how many it rests. The seeds are fixed: the same numbers of rollouts give the same figures.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from time import monotonic
from zlib import crc32

from perch.core import Cause, Policy, Slo, State
from perch.core.policy import Labels
from perch.core.sources import Source, parts
from perch.core.transitions import promote
from perch.rehearsal.cost import LIMIT_S, Cost, LateHarm, good_canary, harmful_canary, late_harm
from perch.rehearsal.market import GOOD, Behaviour, Traffic, always
from perch.rehearsal.rehearse import Outcome, beginning, rehearse

MOST = 400
"""Rollouts behind a figure, unless another number is asked for."""

FAULTS: Mapping[str, Behaviour] = {
    "errors to 50 %": Behaviour(error_rate=0.5),
    "silent canary": Behaviour(silent=True),
    "constant scores": Behaviour(score_scale=0.0),
    "errors to 5 %": Behaviour(error_rate=0.05),
    "latency x1.5": Behaviour(latency_factor=1.5),
    "errors to 1 %": Behaviour(error_rate=0.01),
    "errors to 0.3 %": Behaviour(error_rate=0.003),
}
"""What may be wrong with a canary, from gross to subtle: what is found early leaves its time to the rest."""

_FEWEST = 10
_TIME_S = 12.0
_GOOD_PART = 1 / 3
_GUARDED = 50
_QUIET_S = 600.0
_LATE_ERROR_RATE = 0.05
_LEAST_ALPHA, _LARGEST_E_VALUE = 1e-9, 1e9

Drawn = tuple[Outcome, list[State]]


def explain(
    policy: Policy,
    slo: Slo,
    rps: float,
    replications: int | None = None,
    tell: Callable[[str], object] = lambda _what: None,
) -> Cost:
    """Count what a policy costs.

    Args:
        policy: As declared; `by_counts` says what of it is not rehearsed.
        slo: What users were promised.
        rps: Requests per second, all arms together, above 0.
        replications: Rollouts behind each figure. `None`: as many as fit into about a quarter of a minute, 10 to 400.
        tell: Is told what is rehearsed next.
    """
    tried = by_counts(policy)
    rehearsal = _Rehearsal(slo, rps, replications, tell)
    harmless, states = rehearsal.draw("a good canary", tried, GOOD, part=_GOOD_PART)
    late = rehearsal.after_promotion([state for state in states if state.guard], tried)
    stages = (True, False) if policy.shadow else (False,)
    cases = [(fault, mirrored) for fault in FAULTS for mirrored in stages]
    harms = []
    for i, (fault, mirrored) in enumerate(cases):
        what = f"{fault}, {'mirrored' if mirrored else 'live'}"
        outcome, _ = rehearsal.draw(what, replace(tried, shadow=mirrored), FAULTS[fault], part=1 / (len(cases) - i))
        harms.append(harmful_canary(fault, outcome, mirrored=mirrored))
    return Cost(rps, slo, policy, good_canary(harmless, tried, rps), late, tuple(harms))


def by_counts(policy: Policy) -> Policy:
    """The part of a policy that is rehearsed: what it makes of counts.

    There are no labels, no judge, no person and no cold canary. Evidence from counts keeps to its part of `alpha`.
    """
    part = parts(policy)[Source.COUNTS]
    return replace(
        policy,
        alpha=max(policy.alpha * part, _LEAST_ALPHA),
        freeze_e_value=min(policy.freeze_e_value / part, _LARGEST_E_VALUE),
        labels=Labels.IGNORED,
        external_judge=False,
        require_approval=False,
        warm_up_requests=0,
    )


@dataclass
class _Rehearsal:
    """Rollouts at one traffic, within a time."""

    slo: Slo
    rps: float
    replications: int | None
    tell: Callable[[str], object]

    def __post_init__(self) -> None:
        self._deadline = monotonic() + _TIME_S

    def draw(self, what: str, policy: Policy, canary: Behaviour, part: float) -> Drawn:
        """Rollouts until promotion: as many as were asked for, or as fit into this part of the time that is left."""
        self.tell(what)
        state, traffic = beginning(policy, self.slo), Traffic(self.rps, canary=always(canary))

        def begin(rollouts: int, batch: int) -> Drawn:
            seed = crc32(f"{what}, {batch}".encode())
            return rehearse([state] * rollouts, policy, traffic, seed=seed, limit_s=LIMIT_S)

        if self.replications is not None:
            return begin(self.replications, 0)
        began_s = monotonic()
        outcome, states = begin(_FEWEST, 0)
        took_s, left_s = monotonic() - began_s, self._deadline - monotonic()
        more = min(MOST - _FEWEST, int(_FEWEST * left_s * part / took_s))
        if more <= 0:
            return outcome, states
        further, further_states = begin(more, 1)
        return outcome + further, states + further_states

    def after_promotion(self, promoted: Sequence[State], policy: Policy) -> LateHarm | None:
        """Let versions serve quietly for ten minutes, or for half of the guard, and then fail."""
        self.tell("errors after promotion")
        fresh = promote(beginning(policy, self.slo), policy, Cause.PROVEN)
        guards = [state.guard for state in promoted if state.guard][:_GUARDED]
        states = [fresh._replace(guard=guard.at_rest()) for guard in guards]
        if not states:
            return None
        quiet_s = min(_QUIET_S, policy.guard_s // 2)
        quiet, states = rehearse(states, policy, Traffic(self.rps), seed=0, limit_s=quiet_s)
        watched = [state for state, alarmed_s in zip(states, quiet.alarmed_s, strict=True) if alarmed_s == inf]
        traffic = Traffic(self.rps, canary=always(Behaviour(error_rate=_LATE_ERROR_RATE)))
        failing, _ = rehearse(watched, policy, traffic, seed=1, limit_s=LIMIT_S)
        return late_harm(failing, error_rate=_LATE_ERROR_RATE, quiet_s=quiet_s, false_alarms=len(states) - len(watched))
