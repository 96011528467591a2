"""The rules after promotion: the guard's alarm, and finding out who is to blame.

The alarm cannot tell a bad version from a bad day. So it first takes most of the traffic to the safe side, which costs
little, and then compares the arms on the event that rang: failures or SLO violations. Versions of different kind are
not equally fast, so a champion harms only if it also breaks what the SLO allows.

    champion harms, compared with the baseline, and so does the canary -> fall back
    canary harms, champion not under suspicion                         -> roll back
    a threefold harm is disproved against every safe arm               -> a common incident: give the traffic back
    the canary's own rate is back to normal, after the first alarm     -> it has passed: give the traffic back
    none of these for as long as the guard lasts                       -> the safer of the two older versions

The last line: where the champion is under suspicion the baseline is the safer, else the champion.
"""

from math import log

from perch.core import sentences, transitions
from perch.core.guard import bounded_rates
from perch.core.rules import Move, end
from perch.core.situation import Situation
from perch.core.state import Cause, Pair
from perch.core.types import Action, Arm, Verdict

_EVENTS = ("failures", "SLO violations")


def alarm(s: Situation) -> Move | None:
    """Take most of the traffic to the safe side when the guard's level reaches the wanted time between false alarms."""
    guard = s.state.guard
    if guard is None or guard.level < s.policy.guard_quiet_s:
        return None
    rung = guard.ring()
    event = rung.rang or 0
    return Move(
        transitions.soften(s.state, s.policy, rung),
        Action.RAMP,
        Verdict.UNDECIDED,
        f"The guard's alarm rang: {_EVENTS[event]} of the promoted version are above twice"
        f" {sentences.percent(guard.rates[event])}; {sentences.percent(s.policy.confirm_share)} of the traffic is taken"
        " to the safe side until it is known who is to blame.",
    )


def pass_guard(s: Situation) -> Move | None:
    """End the rollout when the guard has watched for long enough; time without requests does not count."""
    guard = s.state.guard
    if guard is None or s.state.paused or not s.weighed or s.state.watched_s < s.policy.guard_s:
        return None
    finished = s.total(Arm.CANARY).finished
    state = transitions.end(s.state, s.policy, Action.PROMOTE, s.state.promoted_by or Cause.PROVEN)
    sentence = (
        f"The guard is over after {finished:,} requests, {sentences.guard_level(s)}: the new version is champion."
    )
    return Move(state, Action.RAMP, Verdict.HEALTHY, sentence)


def blame_both(s: Situation) -> Move | None:
    """Fall back when champion and canary both harm: a canary that is worse than a champion that harms does so, too."""
    canary = max(s.evidence(Pair.CANARY_BASELINE), s.evidence(Pair.CANARY_STABLE))
    if canary < s.threshold or not s.champion_is_suspect(s.threshold):
        return None
    return end(
        s,
        Action.FALL_BACK,
        Cause.HARM,
        f"the promoted version and the champion before it both harm: {sentences.harm(s, Pair.STABLE_BASELINE)}",
    )


def blame_canary(s: Situation) -> Move | None:
    """Roll back when the canary harms and the champion is not under suspicion.

    Harm beside the baseline alone says nothing of the champion yet: it has to be cleared first.
    """
    if s.evidence(Pair.CANARY_STABLE) >= s.threshold and not s.champion_is_suspect(s.policy.freeze_e_value):
        return end(s, Action.ROLL_BACK, Cause.HARM, sentences.harm(s, Pair.CANARY_STABLE))
    if s.evidence(Pair.CANARY_BASELINE) >= s.threshold and _cleared(s, Pair.STABLE_BASELINE):
        return end(s, Action.ROLL_BACK, Cause.HARM, sentences.harm(s, Pair.CANARY_BASELINE))
    return None


def exonerate(s: Situation) -> Move | None:
    """Give the traffic back when no safe arm does better: nobody's version is to blame, and people must look."""
    pairs = [pair for pair in s.state.comparisons if pair.arms[0] is Arm.CANARY]
    guard = s.state.guard
    if guard is None or s.state.paused or not all(_cleared(s, pair) for pair in pairs):
        return None
    normal = bounded_rates(s.total(Arm.STABLE) + s.total(Arm.BASELINE), s.state.reference, s.policy)
    return Move(
        transitions.restore(s.state, s.policy, guard.in_incident(normal, s.state.now_s)),
        Action.RAMP,
        Verdict.HEALTHY,
        f"A common incident, page somebody: the older versions have as many {_EVENTS[guard.rang or 0]},"
        f" odds {sentences.odds(min(_clearance(s, pair) for pair in pairs))} against a threefold harm; it gets its"
        " traffic back.",
    )


def relieve(s: Situation) -> Move | None:
    """Give the traffic back, once, when the version's own rate is normal again: the benefit of the doubt."""
    guard = s.state.guard
    if guard is None or s.state.paused or guard.alarms > 1 or guard.relief < log(s.policy.exonerate_odds):
        return None
    return Move(
        transitions.restore(s.state, s.policy, guard),
        Action.RAMP,
        Verdict.HEALTHY,
        f"The promoted version gets its traffic back: its {_EVENTS[guard.rang or 0]} are back to normal; a second alarm"
        " will not be forgiven like this.",
    )


def give_up(s: Situation) -> Move | None:
    """End at the safer of the older versions when it cannot be found out who is to blame."""
    waited_s = s.state.now_s - s.state.phase_since_s
    if waited_s < s.policy.guard_s:
        return None
    suspected = s.champion_is_suspect(s.policy.freeze_e_value)
    suspected |= s.evidence(Pair.CANARY_BASELINE) >= s.threshold
    silent = bool(s.total(Arm.BASELINE).finished) and not s.total(Arm.STABLE).finished
    outcome = Action.FALL_BACK if s.state.has_baseline and (suspected or silent) else Action.ROLL_BACK
    return end(
        s, outcome, Cause.INCONCLUSIVE, f"inconclusive, nobody could be blamed or cleared within {waited_s:,.0f} s"
    )


def _cleared(s: Situation, pair: Pair) -> bool:
    """Whether a threefold harm of the pair's first arm is disproved for the event that rang."""
    return _clearance(s, pair) >= s.policy.exonerate_odds


def _clearance(s: Situation, pair: Pair) -> float:
    rang = s.state.guard.rang if s.state.guard else None
    return s.clearance(pair)[rang or 0]
