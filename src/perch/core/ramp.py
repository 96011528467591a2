"""The ramp: the weight grows as fast as gross harm is excluded, never by the clock alone."""

from math import inf

from perch.core.bounds import lower_bound, upper_bound
from perch.core.events import bad
from perch.core.policy import Policy
from perch.core.reference import Reference
from perch.core.types import Counts

_CAPS = ((0.05, 0.10), (0.02, 0.25))  # while harm above the first cannot be excluded, no more than the second
_BUDGET_SHARE = 0.001  # of the requests of one reaction, where that is more than the policy's budget


def harm_bound(canary: Counts, stable: Counts, reference: Reference, policy: Policy) -> float | None:
    """Upper bound on the canary's share of bad requests minus the stable arm's, at all times with error `policy.beta`.

    Bad is what failed or was slower than the SLO allows. `None` before any request of the canary's.
    """
    if not canary.finished:
        return None
    error = policy.beta / 2
    upper = upper_bound(bad(canary, reference), canary.finished, error)
    return upper - lower_bound(bad(stable, reference), stable.finished, error)


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
    cap = next((cap for bound, cap in _CAPS if harm > bound), policy.max_weight)
    return max(weight, min(2 * weight, affordable, cap, policy.max_weight))
