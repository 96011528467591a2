"""When to train a model anew: `decide(state, signals, policy, now_s) -> (state, decision)`. Pure.

**By age**, when waiting has cost what a run costs, see `perch.core.staleness`; at the latest at the limit. **Sooner**,
when something says that the model is out of date: decay, drift, an alert from outside, a person. **Later**, for a run
or a rollout in progress, for the cool-down, and for a budget that refills like a bucket. A run that failed makes the
cool-down longer: data that is refused now is refused an hour later, too.

**Once.** The decision to start has a number, which is remembered before anybody starts anything. It is repeated until
it is `confirmed`, and starting a number twice is starting it once. An alert that goes on firing after its run asks for
no other one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from perch.core.decay import Decay
from perch.core.drift import Drift
from perch.core.freshness_types import Alert, Decision, Ended, Signals, State
from perch.core.policy import FreshnessPolicy
from perch.core.staleness import age_s, due_s, length, lost_clicks, objection, tokens

_LONGEST_LOOK_S = 3_600.0  # time in which nobody looked counts for no more
_MOST_ALERTS = 100


def decide(state: State, signals: Signals, policy: FreshnessPolicy, now_s: float) -> tuple[State, Decision]:
    """Look once. Time by which the clock was set back counts for nothing."""
    seen = _seen(state, signals, policy, now_s)
    start, sentence = _weighed(seen, signals, policy, now_s)
    begins = start and not seen.is_starting
    after = replace(_started(seen, sentence, now_s) if begins else seen, sentence=sentence)
    return after, Decision(start, after.run, sentence, due_s(after, policy, now_s))


def confirmed(state: State) -> State:
    """The state once the run that was decided on has been started."""
    return replace(state, is_starting=False)


# --- what is seen ---------------------------------------------------------------------------------------------------


def _seen(state: State, signals: Signals, policy: FreshnessPolicy, now_s: float) -> State:
    """The state with what the signals say, before anything is decided."""
    elapsed_s = 0.0 if state.seen_s is None else min(max(now_s - state.seen_s, 0.0), _LONGEST_LOOK_S)
    state = replace(state, tokens=tokens(state, policy, now_s), seen_s=max(now_s, state.seen_s or now_s))
    if signals.version != state.version:
        trained_s = now_s if signals.trained_s is None else min(signals.trained_s, now_s)
        state = replace(_renewed(state, trained_s), version=signals.version)
    state = _with_end(state, signals.ended)  # last: a run may release a version that was trained before
    if signals.loss_per_hour is not None:
        state = replace(state, loss_per_hour=signals.loss_per_hour)
    return replace(
        state,
        impressions=state.impressions + signals.impressions,
        watched_s=state.watched_s + elapsed_s,
        lost_clicks=state.lost_clicks + lost_clicks(state, policy, signals.impressions, now_s - elapsed_s / 2),
        decay=state.decay.after(signals.matured, elapsed_s, policy.tolerated_decay),
        drift=state.drift.after(signals.scores, elapsed_s),
        alerts=_unanswered(state, signals.alerts),
    )


def _with_end(state: State, ended: Ended | None) -> State:
    """With the end of a run that was not known. One that succeeded has judged the champion on the latest data.

    It also answers the alerts that came while it was in progress: a storm goes on for a while, and is one storm.
    """
    if ended is None or ended == state.ended:
        return state
    state = replace(state, ended=ended, failures=0 if ended.succeeded else state.failures + 1)
    if ended.succeeded:
        state = replace(state, alerts={}, answered=(*state.answered, *state.alerts)[-_MOST_ALERTS:])
    return _renewed(state, ended.began_s) if ended.succeeded and ended.began_s > state.fresh_s else state


def _renewed(state: State, since_s: float) -> State:
    """The champion as one that ages from `since_s` on, and of which nothing has been seen."""
    return replace(state, fresh_s=since_s, impressions=0, watched_s=0.0, lost_clicks=0.0, decay=Decay(), drift=Drift())


def _unanswered(state: State, alerts: tuple[Alert, ...]) -> Mapping[str, str]:
    waiting = dict(state.alerts)
    for alert in alerts:
        if not alert.firing:
            waiting.pop(alert.number, None)
        elif alert.number not in state.answered and len(waiting) < _MOST_ALERTS:
            waiting[alert.number] = alert.sentence
    return waiting


# --- what is decided ------------------------------------------------------------------------------------------------


def _weighed(state: State, signals: Signals, policy: FreshnessPolicy, now_s: float) -> tuple[bool, str]:
    """Whether to start a run, and why, or why not."""
    if signals.in_progress is not None:
        return False, f"{signals.in_progress} is in progress; a run waits for its end."
    if state.is_starting:
        return True, state.reason
    reason = next(_reasons(state, signals, policy, now_s), None)
    if reason is None:
        return False, _calm(state, policy, now_s)
    against = objection(state, policy, now_s, override=signals.wish and signals.override)
    if against is None and not (policy.automatic or signals.wish):
        against = "Nothing is started by itself here: start a run with `perch retrain`."
    return (True, reason) if against is None else (False, f"{reason} {against}")


def _reasons(state: State, signals: Signals, policy: FreshnessPolicy, now_s: float) -> Iterator[str]:
    """Everything that asks for a run now."""
    age, psi = length(age_s(state, now_s)), state.drift.psi
    if signals.wish:
        yield "A person asked for it."
    if state.alerts:
        others = f" So do {len(state.alerts) - 1} more." if len(state.alerts) > 1 else ""
        yield f"An alert fires: {next(iter(state.alerts.values()))}.{others}"
    if state.decay.bounds is not None and state.decay.level >= policy.decay_quiet_s:
        low, high = state.decay.bounds
        yield (
            f"Version {state.version} decays: of late {state.decay.recent:.2f} clicks came for each that it predicted,"
            f" and {low:.2f} to {high:.2f} when it was new. By chance this is seen once in"
            f" {length(policy.decay_quiet_s)} at most."
        )
    if psi is not None and psi > policy.drift_limit:
        yield f"The scores have drifted: their stability index is {psi:.2f}, and {policy.drift_limit:g} is tolerated."
    if age_s(state, now_s) >= policy.staleness_limit_s:
        yield f"Version {state.version} is {age} old, and the limit is {length(policy.staleness_limit_s)}."
    if state.lost_clicks >= policy.run_price_clicks:
        cost = f"{state.lost_clicks:.1f} clicks, and a run costs {policy.run_price_clicks:g}"
        yield f"Version {state.version} is {age} old, which has cost {cost}."


def _started(state: State, reason: str, now_s: float) -> State:
    assert state.tokens is not None, "set by every look"
    return replace(
        state,
        run=state.run + 1,
        run_s=now_s,
        reason=reason,
        is_starting=True,
        tokens=state.tokens - 1,
        alerts={},
        answered=(*state.answered, *state.alerts)[-_MOST_ALERTS:],
        decay=replace(state.decay, detectors=Decay().detectors),
        drift=replace(state.drift, psi=None),
    )


def _calm(state: State, policy: FreshnessPolicy, now_s: float) -> str:
    age, due = length(age_s(state, now_s)), length(due_s(state, policy, now_s) - now_s)
    silent = " No clicks come in, so decay could not be seen." if state.decay.is_silent else ""
    return (
        f"Version {state.version} is {age} old, which has cost {state.lost_clicks:.1f} clicks, and a run costs"
        f" {policy.run_price_clicks:g}. By age alone, the next one is due in {due}.{silent}"
    )
