"""What age costs, what a run may cost, and so when the next one is due. Pure.

**One unit.** Both are told in clicks. A model of age a hours loses r a clicks in a thousand impressions, where r is
measured by backtests as log loss: a thousandth of a nat more is taken for one click lost in a thousand impressions.
Both go with the square of the error in the log-odds: with errors of variance v, a rate p costs p (1 - p) v / 2 nats;
and choosing by such scores among candidates whose log-odds spread by about one loses about p v / 2 clicks.
(`make bench-freshness` measures the rate of exchange in the simulated market.)

**When.** With n thousand impressions an hour, waiting until age T costs r n T^2 / 2. A run is due when that reaches its
price C, for then (C + r n T^2 / 2) / T, the cost of an hour, is least. (The economic order quantity; Harris 1913.) So a
busy service is trained often and a quiet one rarely, by one policy.
"""

from math import inf, isfinite, sqrt

from perch.core.freshness_types import State
from perch.core.policy import FreshnessPolicy

HOUR_S = 3_600.0
DAY_S = 86_400.0


def age_s(state: State, now_s: float) -> float:
    """How old the champion is, in seconds: what it does not know and a new run would."""
    return max(now_s - state.fresh_s, 0.0)


def loss_per_hour(state: State, policy: FreshnessPolicy) -> float:
    """Clicks in a thousand impressions that an hour of age costs: as measured, or else as declared."""
    return policy.staleness_price if state.loss_per_hour is None else state.loss_per_hour


def lost_clicks(state: State, policy: FreshnessPolicy, impressions: int, time_s: float) -> float:
    """What the champion's age has cost in so many impressions of about that time."""
    return impressions / 1_000 * loss_per_hour(state, policy) * age_s(state, time_s) / HOUR_S


def tokens(state: State, policy: FreshnessPolicy, now_s: float) -> float:
    """Runs that the budget has left, with the part of the next one."""
    if state.tokens is None or state.seen_s is None:
        return float(policy.runs_per_day)
    refilled = max(now_s - state.seen_s, 0.0) * policy.runs_per_day / DAY_S
    return min(state.tokens + refilled, float(policy.runs_per_day))


def funded_s(state: State, policy: FreshnessPolicy, now_s: float) -> float:
    """When the budget has a run, in seconds since the epoch."""
    return now_s + max(1 - tokens(state, policy, now_s), 0.0) * DAY_S / policy.runs_per_day


def rested_s(state: State, policy: FreshnessPolicy) -> float:
    """When the cool-down is over, in seconds since the epoch: it doubles with each run in a row that failed."""
    if state.run_s is None:
        return -inf
    longest_s = max(policy.cool_down_s, DAY_S)
    return state.run_s + min(policy.cool_down_s * 2.0 ** min(state.failures, 20), longest_s)


def due_s(state: State, policy: FreshnessPolicy, now_s: float) -> float:
    """When a run is due by age alone, if traffic goes on as it was, in seconds since the epoch."""
    by_age_s = min(state.fresh_s + policy.staleness_limit_s, now_s + _affordable_s(state, policy, now_s))
    return max(by_age_s, rested_s(state, policy), funded_s(state, policy, now_s), now_s)


def objection(state: State, policy: FreshnessPolicy, now_s: float, *, override: bool) -> str | None:
    """What speaks against starting a run now, apart from one in progress; `None` when nothing does.

    Insisting (`override`) ends the cool-down, and not the budget.
    """
    if tokens(state, policy, now_s) < 1:
        return (
            f"The budget of {policy.runs_per_day} runs a day is used up; it has the next one in"
            f" {length(funded_s(state, policy, now_s) - now_s)}."
        )
    rest_s = rested_s(state, policy) - now_s
    if state.run_s is None or rest_s <= 0 or override:
        return None
    failed = f", and {state.failures} in a row did not succeed" if state.failures else ""
    return f"The last run was started {length(now_s - state.run_s)} ago{failed}: cool-down for {length(rest_s)} more."


def length(seconds: float) -> str:
    """A length of time as people say it."""
    for unit_s, unit in ((DAY_S, "days"), (HOUR_S, "h"), (60.0, "min")):
        if seconds >= 2 * unit_s and isfinite(seconds):
            return f"{seconds / unit_s:.1f} {unit}"
    return f"{max(seconds, 0.0):.0f} s"


def _affordable_s(state: State, policy: FreshnessPolicy, now_s: float) -> float:
    """Time x until staleness will have cost a run, at the traffic seen so far: lost + r n (a x + x^2 / 2) = price."""
    left = policy.run_price_clicks - state.lost_clicks
    if left <= 0:
        return 0.0
    if state.watched_s <= 0 or not state.impressions or not loss_per_hour(state, policy):
        return inf
    lost_per_hour = loss_per_hour(state, policy) * state.impressions / 1_000 / (state.watched_s / HOUR_S)
    age_h = age_s(state, now_s) / HOUR_S
    return HOUR_S * (sqrt(age_h**2 + 2 * left / lost_per_hour) - age_h)
