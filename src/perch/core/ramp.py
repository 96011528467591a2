"""The ramp: the weight grows as fast as gross harm is excluded, never by the clock alone.

What is bounded is the mean, over the canary's requests, of its rate minus the champion's *in the same tick*, however
both move: the champion's responses are matched, see `perch.core.events.Record`. The lower bound of `bounds` holds for a
matched sum, too: what a request adds lies in 0 to 1, and of all such variables with that mean the one that is 0 or 1
makes the martingale largest, by convexity.
"""

from math import inf

from perch.core.bounds import lower_bound, upper_bound
from perch.core.events import Record
from perch.core.policy import Policy
from perch.core.reference import Reference
from perch.core.types import Arm

_CAPS = (
    (0.05, 0.03),
    (0.02, 0.08),
    (0.01, 0.3),
)  # while harm above the first cannot be excluded, no more than the second
_BUDGET_SHARE = 0.001  # of the requests of one reaction, where that is more than the policy's budget


def excess_bound(hits: int, trials: int, matched: float, stable: int, error: float) -> float:
    """Upper bound on the canary's rate of an event minus the stable arm's, at all times except with `error`.

    Args:
        hits: How often it happened in the canary.
        trials: Among how many of its requests, at least 1.
        matched: How often it happened in the stable arm, matched to the canary's requests.
        stable: Among how many of the stable arm's requests, before matching.
        error: Probability that the bound ever fails.
    """
    upper = upper_bound(hits, trials, error / 2)
    return upper - lower_bound(matched, stable, error / 2) * stable / trials


def harm_bound(record: Record, reference: Reference, policy: Policy) -> float | None:
    """Upper bound on the canary's share of bad requests minus the stable arm's, at all times with error `policy.beta`.

    Bad is what failed or was slower than the SLO allows. `None` before any request of the canary's.
    """
    canary, stable = record.arms.get(Arm.CANARY), record.arms.get(Arm.STABLE)
    if not canary or not canary.finished:
        return None
    bad = canary.failed + canary.hits[reference.slo_event]
    return excess_bound(bad, canary.finished, sum(record.matched), stable.finished if stable else 0, policy.beta)


def next_weight(weight: float, harm: float, requests_per_s: float, policy: Policy) -> float:
    """The canary's next share of the traffic: at most twice the last, and never less.

    In one reaction (`policy.ramp_interval_s`) at the new weight, the excess of bad responses stays within the harm
    budget even if harm is at its upper bound.

    Args:
        weight: Share in force, 0 to 1.
        harm: `harm_bound`, -1 to 1.
        requests_per_s: Live requests of all arms a second.
        policy: Budget, interval and largest weight.
    """
    reaction = requests_per_s * policy.ramp_interval_s
    budget = max(policy.harm_budget, _BUDGET_SHARE * reaction)
    affordable = budget / (reaction * harm) if reaction * harm > 0 else inf
    return max(weight, min(2 * weight, affordable, cap(harm, policy)))


def cap(harm: float, policy: Policy) -> float:
    """Largest share of the traffic while a harm of this size cannot be excluded."""
    return next((cap for bound, cap in _CAPS if harm > bound), policy.max_weight)
