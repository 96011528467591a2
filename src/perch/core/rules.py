"""The rules of shadow and ramp, and those that hold in every phase.

A rule looks at a situation and makes a move, or passes (`None`). The engine asks them in order: what a person wants,
then what protects users, then what goes forward. Only the last kind raises the canary's weight, and only in a tick in
which evidence moved.
"""

from typing import NamedTuple

from perch.core import sentences, transitions
from perch.core.policy import Labels
from perch.core.ramp import next_weight
from perch.core.situation import Situation
from perch.core.sources import Source
from perch.core.state import Cause, Pair, State
from perch.core.types import Action, Arm, Command, Phase, Verdict

_LEAST_RAISE = 1e-9
_RETREAT, _RETREAT_TO = 4.0, 0.1
_LONGEST_DOUBT_S = 240.0


class Move(NamedTuple):
    """What a rule decided."""

    state: State
    action: Action
    verdict: Verdict
    sentence: str
    eject: tuple[str, ...] = ()


def obey(s: Situation) -> Move | None:
    """A person's wish comes first; pausing is a state, and was noted when the observation was taken in."""
    match s.tick.command:
        case Command.ROLL_BACK:
            return end(s, Action.ROLL_BACK, Cause.PERSON, f"a person asked for it; {sentences.standing(s)}")
        case Command.PROMOTE if s.policy.require_approval and _is_proven(s):
            return _promoted(s, "Promoted with a person's approval")
        case Command.PROMOTE if s.state.phase is not Phase.GUARD:
            state = transitions.promote(s.state, s.policy, Cause.PERSON)
            return Move(
                state,
                Action.PROMOTE,
                Verdict.UNDECIDED,
                f"Promoted because a person asked for it, without waiting for proof: {sentences.standing(s)}.",
            )
    return None


def eject_pod(s: Situation) -> Move | None:
    """Take out a pod that is proven to be worse than the rest of its arm; its version is not to blame."""
    for arm, pods in s.state.pods.items():
        pod = pods.culprit(s.policy)
        if pod is not None:
            state = transitions.eject(s.state, s.policy, arm, pod)
            return Move(state, Action.HOLD, Verdict.UNDECIDED, sentences.ejected(s, arm, pod), eject=(pod,))
    return None


def champion_harms(s: Situation) -> Move | None:
    """Fall back when the champion harms, compared with the baseline and by the SLO, and the canary is no way out.

    The canary is one when a threefold harm, compared with the baseline, is disproved for both failures and SLO
    violations. Without that it is no safer than the champion: a canary with too little data, too, since both may share
    what is broken. The test has an error probability of `alpha` of its own, as it blames another version.
    """
    if not s.champion_is_suspect(s.threshold):
        return None
    harms_too = s.evidence(Pair.CANARY_BASELINE) >= s.threshold
    if not harms_too and min(s.clearance(Pair.CANARY_BASELINE)) >= s.policy.exonerate_odds:
        return None
    canary = "the canary harms, too" if harms_too else "the canary has not been cleared"
    cause = Cause.HARM if harms_too else Cause.INCONCLUSIVE
    return end(s, Action.FALL_BACK, cause, f"{sentences.harm(s, Pair.STABLE_BASELINE)}; {canary}")


def canary_harms(s: Situation) -> Move | None:
    """Roll back when the evidence that the canary harms reaches `1 / alpha`; also while paused.

    Where one of its pods is under suspicion and the others are not, a few responses more tell which of the two it is;
    the verdict waits for them four minutes and no longer. If it is the version, a failure or two of other pods end the
    wait much sooner.
    """
    if s.e_value < s.threshold:
        return None
    if s.loudest is not Source.COUNTS:
        return end(s, Action.ROLL_BACK, Cause.HARM, sentences.harm_by(s.loudest, s))
    suspect = s.state.pods[Arm.CANARY].suspect(s.state.reference, s.policy) if Arm.CANARY in s.state.pods else None
    doubted_s = s.state.now_s if s.state.doubted_s is None else s.state.doubted_s
    if suspect is not None and s.state.now_s - doubted_s < _LONGEST_DOUBT_S:
        return Move(
            s.state._replace(doubted_s=doubted_s), Action.HOLD, Verdict.UNDECIDED, sentences.suspected(s, suspect)
        )
    return end(s, Action.ROLL_BACK, Cause.HARM, sentences.harm(s, Pair.CANARY_STABLE))


def split_is_wrong(s: Situation) -> Move | None:
    """Roll back when the canary does not get, or does not answer, its share of the requests.

    A canary of which nothing runs is not blamed for its silence: its node may have been drained. From here that looks
    like a process that ends by its own fault, so neither is blamed.

    When it is the champion that is silent, there is no rolling back to it: fall back to the baseline, if there is one.
    In the guard that is no reason to take the traffic from a healthy version: it is told, and nothing else.
    """
    split = s.state.sample_ratio
    if split.e_value < 1 / s.policy.sample_ratio_alpha:
        return None
    if split.stable_is_silent:
        if s.state.phase is Phase.GUARD:
            return None
        sentence = f"the champion does not answer its share of the requests; {sentences.silence(s)}"
        return end(s, Action.FALL_BACK, Cause.MISROUTED, sentence) if s.state.has_baseline else None
    cause, meaning = _why_split_is_wrong(s)
    return end(s, Action.ROLL_BACK, cause, f"{meaning}: {sentences.silence(s)}")


def _why_split_is_wrong(s: Situation) -> tuple[Cause, str]:
    if not s.state.sample_ratio.canary_is_silent:
        return Cause.MISROUTED, "the split is wrong"
    if s.canary_was_down:
        return Cause.DOWN, "the canary is silent, for it is down; that may be the machine's fault, so no quarantine"
    return Cause.SILENT, "the canary is silent"


def starved(s: Situation) -> Move | None:
    """Give the canary's traffic back when nothing was learnt for too long."""
    waited_s = s.state.now_s - s.state.data_s
    if waited_s < s.policy.no_data_timeout_s:
        return None
    why = s.no_data or "too few requests"
    return end(s, Action.ROLL_BACK, Cause.INCONCLUSIVE, f"inconclusive, no data for {waited_s:,.0f} s: {why}")


def go_live(s: Situation) -> Move | None:
    """Leave the shadow stage once it has lasted long enough and gross harm is excluded."""
    lasted = s.state.watched_s >= s.policy.shadow_s
    if not (lasted and _may_go_forward(s) and _gross_harm_is_excluded(s)):
        return None
    state = transitions.go_live(s.state, s.policy)
    mirrored = s.total(Arm.CANARY).finished
    return Move(
        state,
        Action.RAMP,
        Verdict.UNDECIDED,
        f"From shadow to {sentences.percent(s.policy.start_weight)} of the traffic: after {mirrored:,} mirrored"
        f" requests {sentences.standing(s)}.",
    )


def promote(s: Situation) -> Move | None:
    """Promote on positive proof, after the bake; where the policy says so, only once a person has approved."""
    if not (_may_go_forward(s) and _is_proven(s)):
        return None
    if s.policy.require_approval:
        sentence = f"Proven, and waiting for a person's approval to promote: {sentences.standing(s)}."
        return Move(s.state, Action.HOLD, Verdict.HEALTHY, sentence)
    return _promoted(s, "Promoted")


def lower_weight(s: Situation) -> Move | None:
    """Take three quarters of the weight back while harm is likely but not proven, once a reaction time, down to 10 %.

    A failure of a small canary tells more than one of a large one, and fewer users see it; below that too few come for
    a verdict in time. Which share is in force follows from the past alone, so the evidence stays what it is.
    """
    weight, rested = s.state.weights.canary, s.state.now_s - s.state.weights_since_s >= s.policy.ramp_interval_s
    lower = max(weight / _RETREAT, _RETREAT_TO, s.policy.start_weight)
    if s.state.paused or not rested or s.e_value <= s.policy.freeze_e_value or lower >= weight - _LEAST_RAISE:
        return None
    return Move(
        transitions.reweigh(s.state, s.policy, lower),
        Action.RAMP,
        Verdict.UNDECIDED,
        f"Lowered from {sentences.percent(weight)} to {sentences.percent(lower)} of the traffic until it is clear:"
        f" {sentences.standing(s)}.",
    )


def raise_weight(s: Situation) -> Move | None:
    """Raise the weight by the harm budget, once a reaction time after the last change."""
    waited_s, weight = s.state.now_s - s.state.weights_since_s, s.state.weights.canary
    if waited_s < s.policy.ramp_interval_s or weight >= s.policy.max_weight - _LEAST_RAISE or not _may_go_forward(s):
        return None
    finished = {arm: counted.finished for arm, counted in s.held.arms.items()}
    seen = bool(finished.get(Arm.CANARY) and finished.get(Arm.STABLE))
    if s.harm_bound is None or not seen:
        return None
    raised = next_weight(weight, s.harm_bound, sum(finished.values()) / waited_s, s.policy)
    if raised <= weight + _LEAST_RAISE:
        return None
    return Move(
        transitions.reweigh(s.state, s.policy, raised),
        Action.RAMP,
        Verdict.UNDECIDED,
        f"Raised from {sentences.percent(weight)} to {sentences.percent(raised)} of the traffic:"
        f" {sentences.standing(s)}.",
    )


def end(s: Situation, outcome: Action, cause: Cause, why: str) -> Move:
    """End the rollout at an older version."""
    to, verdict = "Rolled back" if outcome is Action.ROLL_BACK else "Fell back to the baseline", Verdict.HARM
    if cause is Cause.INCONCLUSIVE:
        verdict = Verdict.NO_DATA if s.no_data else Verdict.UNDECIDED
    elif cause in {Cause.MISROUTED, Cause.DOWN}:
        verdict = Verdict.ERROR
    elif cause is Cause.PERSON:
        verdict = Verdict.UNDECIDED
    return Move(transitions.end(s.state, s.policy, outcome, cause), outcome, verdict, f"{to}: {why}.")


def _promoted(s: Situation, how: str) -> Move:
    canary, stable = (s.total(arm).finished for arm in (Arm.CANARY, Arm.STABLE))
    return Move(
        transitions.promote(s.state, s.policy, Cause.PROVEN),
        Action.PROMOTE,
        Verdict.HEALTHY,
        f"{how}: the canary is proven no worse in failures and SLO violations over {canary:,} requests, beside"
        f" {stable:,} of the champion's; {sentences.standing(s)}.",
    )


def _is_proven(s: Situation) -> bool:
    """Whether the whole record proves it; a person may say so in a second in which nothing moves, too."""
    if s.state.phase is not Phase.RAMP or s.e_value > s.policy.freeze_e_value:
        return False
    if not (_has_baked(s) and s.not_inferior()):
        return False
    return s.policy.labels is not Labels.REQUIRED or s.labels_are_cleared


def _may_go_forward(s: Situation) -> bool:
    """Whether a weight may be raised at all: on evidence that moved, none of it against the canary."""
    return s.weighed and not s.state.paused and s.no_data is None and s.e_value <= s.policy.freeze_e_value


def _gross_harm_is_excluded(s: Situation) -> bool:
    bound = s.harm_bound
    return (bound is not None and bound < s.policy.shadow_harm_bound) or s.not_inferior()


def _has_baked(s: Situation) -> bool:
    if s.state.watched_s < s.policy.bake_s or s.state.weights.canary < s.policy.max_weight - _LEAST_RAISE:
        return False
    live = s.state.seen.since(s.state.before_live)
    return all(live.arm(arm, s.state.reference).finished >= s.policy.min_requests for arm in (Arm.CANARY, Arm.STABLE))
