"""One sentence for each decision, for a person at three in the morning: what happened, and the numbers that decided."""

from math import exp

from perch.core.events import FAILED, Tally
from perch.core.reference import Reference
from perch.core.situation import Situation
from perch.core.sources import Source
from perch.core.state import Pair
from perch.core.types import Arm, Phase

_NAMES = {Arm.CANARY: "the canary", Arm.STABLE: "the champion", Arm.BASELINE: "the baseline"}


def harm(situation: Situation, pair: Pair) -> str:
    """What the first arm of a pair did, beside the second, in the event that weighs most; and the evidence."""
    first, second = pair.arms
    reference = situation.state.reference
    event = situation.heaviest_event(pair)
    mine, theirs = (situation.total(arm) for arm in (first, second))
    mirrored = first is Arm.CANARY and situation.state.phase is Phase.SHADOW
    kind = "mirrored requests, which no user saw," if mirrored else "requests"
    did, others_did = _share(mine, event, reference, kind), _share(theirs, event, reference)
    return (
        f"{_NAMES[first]} {_deed(event, reference)} {did} while {_NAMES[second]} did so in {others_did};"
        f" evidence {odds(situation.evidence(pair))}, needed {situation.threshold:,.0f}"
    )


def harm_by(source: Source, situation: Situation) -> str:
    """What labels or a judge say of the canary, and the evidence."""
    policy = situation.policy
    what = {
        Source.PAIRED: "where both versions scored a request the canary's log loss is more than"
        f" {percent(policy.tolerated_loss)} above the champion's",
        Source.CLICKS: f"the canary earns over {percent(policy.tolerated_click_loss)} fewer clicks than its share of"
        " the requests should",
        Source.JUDGE: "the external judge finds that the canary is given other inputs than the champion"
        + _finding(situation),
    }[source]
    return f"{what}; evidence {odds(situation.e_value)}, needed {situation.threshold:,.0f}"


def _finding(situation: Situation) -> str:
    worst = situation.state.judge.worst
    return f": {worst.finding}" if worst and worst.finding else ""


def ejected(situation: Situation, arm: Arm, pod: str) -> str:
    """Why a pod is taken out."""
    known = situation.state.pods[arm].known[pod]
    return (
        f"Pod {pod} of {_NAMES[arm]} is taken out: it does worse than the other pods of its version, evidence"
        f" {odds(known.e_value)}, and without it there is nothing against the version, which starts afresh."
    )


def suspected(situation: Situation, pod: str) -> str:
    """Why a verdict waits."""
    return (
        f"Waiting for a few more responses: there is enough evidence of harm, {odds(situation.e_value)}, but it may all"
        f" be pod {pod}'s and not the version's."
    )


def silence(situation: Situation) -> str:
    """What the sample-ratio test saw, and its evidence."""
    split = situation.state.sample_ratio
    needed = 1 / situation.policy.sample_ratio_alpha
    return (
        f"the canary finished {split.canary:,} of about {split.expected:,.0f} requests that its share of the traffic"
        f" promised; evidence {odds(split.e_value)}, needed {needed:,.0f}"
    )


def excess(situation: Situation) -> str:
    """What is known of the canary's excess of bad responses."""
    bound = situation.harm_bound
    if bound is None:
        return "nothing is known of the canary yet"
    if bound < 0:
        return f"at least {percent(-bound)} fewer of the canary's responses are bad than of the champion's"
    return f"at most {percent(bound)} more of the canary's responses are bad than of the champion's"


def standing(situation: Situation) -> str:
    """How far the evidence is while nothing is decided."""
    return f"{excess(situation)}; evidence of harm {odds(situation.e_value)}, needed {situation.threshold:,.0f}"


def guard_level(situation: Situation) -> str:
    """How far the guard's alarm is from ringing, or what made it ring."""
    guard = situation.state.guard
    level = guard.level if guard else 0.0
    return f"alarm level {level:,.0f} of {situation.policy.guard_quiet_s:,.0f}"


def percent(share: float) -> str:
    """A share (0 to 1) in per cent, with two significant digits."""
    return f"{_plain(100 * share)} %"


def odds(e_value: float) -> str:
    """Evidence as odds."""
    if e_value >= 1e6:
        return "over a million to 1"
    return f"{e_value:,.0f} to 1" if e_value >= 10 else f"{e_value:.2g} to 1"


def _deed(event: int, reference: Reference) -> str:
    if event == FAILED:
        return "failed"
    slow = event - 1
    if slow < len(reference.latency_edges):
        return f"was slower than {reference.grid.latency_ms[reference.latency_edges[slow]]:g} ms in"
    start, stop = reference.score_ranges[slow - len(reference.latency_edges)]
    return f"gave scores {_score_range(reference, start, stop)} in"


def _score_range(reference: Reference, start: int, stop: int) -> str:
    edges = reference.grid.score_logit
    low = percent(_probability(edges[start - 1])) if start else None
    high = percent(_probability(edges[stop - 1])) if stop <= len(edges) else None
    if low and high:
        return f"between {low} and {high}"
    return f"above {low}" if low else f"up to {high}"


def _exposed(counted: Tally, event: int, reference: Reference) -> int:
    if event == FAILED:
        return counted.finished
    return counted.answered if event <= len(reference.latency_edges) else counted.scored


def _share(counted: Tally, event: int, reference: Reference, kind: str = "") -> str:
    hits, exposed = counted.hits[event], _exposed(counted, event, reference)
    of_what = f" {kind}" if kind else ""
    return f"{hits:,.0f} of {exposed:,.0f}{of_what} ({percent(hits / exposed if exposed else 0.0)})"


def _probability(logit: float) -> float:
    return 1 / (1 + exp(-logit))


def _plain(number: float) -> str:
    """Two significant digits, never in scientific notation."""
    text = f"{number:.2g}"
    return f"{number:.0f}" if "e+" in text else f"{number:.6f}".rstrip("0") if "e" in text else text
