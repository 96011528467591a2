"""Labels for a rollout: what became known since it last asked, each handed out once.

**Pairs**, for `perch.core.paired`: the champion answered a request, the canary scored its copy, and it is known whether
it was clicked. A label is handed out when its request reaches the end of the attribution window, be it clicked early,
late or not at all. So its age is fixed before, as `paired.loss` asks: if a label were handed out at its click, all
requests would be clicked ones. And at that age every click that counts has come, so that no request stands for "not
clicked" whose click is on its way. A click that is told later than it came, by more than is left of the window, is
taken for none.

A label belongs to one row, the one that was shown, and a prediction has the score of the row that *its* version would
show. So only requests for which both would show the same row make a pair. For those the canary would have met the same
user with the same row, so the click would have been its own; and choosing them treats both alike, so that versions of
equal worth differ by nothing in the mean: retrained models agree on 7 of 10 slates of the simulated market, and differ
there by 0.0 to 0.2 % of their loss. On all rows that the champion shows the canary would seem 0.5 to 0.8 % better, for
a version shows what it rates too high. Of what they would show differently only clicks can tell.

**Clicks**, for `perch.core.clicks`: those that newly joined, by the time at which their requests were answered, with
the canary's share of the requests of that time.

**Judgements**, for `perch.core.judge`: of windows that were judged since, see `perch.signals.judging`. They come the
same way, for they, too, are known late and count once.

**Once.** A `Cursor` says how far labels have been handed out. It is plain data that belongs to who asks, and nothing is
remembered here. Clicks have numbers in the order in which they joined, pairs go by the time of their request. What that
costs: a prediction that is told more than a window after its request makes no pair.
"""

from dataclasses import dataclass

from perch.core.types import Judgement, Outcomes


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whose labels are asked for."""

    stable: str
    """The champion's version."""

    canary: str
    """The challenger's."""

    since_s: float
    """Begin of the rollout, in seconds since the epoch; earlier requests do not count."""

    judged: bool = False
    """Whether the external judge is to compare what the two are asked; it goes on for as long as this is asked."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far labels have been handed out; at first nothing has."""

    clicks: int = 0
    """Number of the last click."""

    paired_s: float = 0.0
    """Time of the request of the last pair, in seconds since the epoch."""

    judged_s: float = 0.0
    """End of the last window whose judgement was handed out, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Labels that became known, and the cursor to ask with for the next ones."""

    outcomes: Outcomes
    cursor: Cursor
    judgements: tuple[Judgement, ...] = ()
