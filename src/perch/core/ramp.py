"""The ramp: the weight grows as fast as gross harm is excluded, never by the clock alone.

While the canary's share grows, most of its requests are late and most of the champion's early, so a champion that had a
bad start would make a harmful canary look good in the totals (Simpson's paradox). So the champion's bad responses are
matched: in each tick they are scaled down to as many requests as the canary had. What is bounded is the mean, over
the canary's requests, of its rate minus the champion's *in the same tick*, however both move.

The lower bound of `bounds` holds for the matched sum, too: what a request adds lies in 0 to 1, and of all such
variables with that mean the one that is 0 or 1 makes the martingale largest, by convexity.
"""

from math import inf

from perch.core.bounds import lower_bound, upper_bound
from perch.core.events import bad
from perch.core.policy import Policy
from perch.core.reference import Reference
from perch.core.types import Counts

_CAPS = ((0.05, 0.10), (0.02, 0.25))  # while harm above the first cannot be excluded, no more than the second
_BUDGET_SHARE = 0.001  # of the requests of one reaction, where that is more than the policy's budget


def matched(canary: Counts, stable: Counts, reference: Reference) -> float:
    """The stable arm's bad responses of a tick, scaled down to as many requests as the canary had in it."""
    if not stable.finished:
        return 0.0
    return bad(stable, reference) * min(canary.finished / stable.finished, 1.0)


def harm_bound(canary: Counts, stable: Counts, stable_bad: float, reference: Reference, policy: Policy) -> float | None:
    """Upper bound on the canary's share of bad requests minus the stable arm's, at all times with error `policy.beta`.

    Bad is what failed or was slower than the SLO allows. `None` before any request of the canary's.

    Args:
        canary: All its counts.
        stable: All the stable arm's counts.
        stable_bad: Sum over ticks of `matched`.
        reference: What is bad.
        policy: Error probability.
    """
    if not canary.finished:
        return None
    error = policy.beta / 2
    upper = upper_bound(bad(canary, reference), canary.finished, error)
    return upper - lower_bound(stable_bad, stable.finished, error) * stable.finished / canary.finished


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
