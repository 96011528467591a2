"""Events: things that happened to one request, counted per arm. All evidence is about which arm they happened in.

An event knows among how many requests it could have happened (its exposure): a failure among all that came to an end, a
slow answer and a score among those that were answered, so a failed request is not also slow. Requests count when they
end, not when they begin: an arm that swallows its requests has no exposure, and so earns no trust.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, repeat
from operator import add, sub
from typing import NamedTuple, Self

from perch.core.reference import Reference
from perch.core.types import Arm, Command, Counts, Judgement, Outcomes
from perch.errors import RolloutError

FAILED = 0
"""Position of the failures among the events."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of one arm by event: failed, slower than each latency edge, score in each bin."""

    finished: int
    """Requests that came to an end: a failure could have happened to them."""

    answered: int
    """Of those, the answered ones: they could have been slow."""

    scored: int
    """Scores given: each could have fallen in any bin."""

    hits: tuple[int, ...]
    """How often each event happened; as many numbers as `event_count` says."""

    @property
    def failed(self) -> int:
        """Requests that ended in an error."""
        return self.hits[FAILED]

    def failures_only(self) -> Self:
        """The tally as if no answer had been looked at: neither how late it came nor what it scored."""
        return type(self)(self.finished, 0, 0, (self.failed, *(0,) * (len(self.hits) - 1)))

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.finished + other.finished,
            self.answered + other.answered,
            self.scored + other.scored,
            tuple(map(add, self.hits, other.hits)),
        )

    def __sub__(self, other: Self) -> Self:
        return type(self)(
            self.finished - other.finished,
            self.answered - other.answered,
            self.scored - other.scored,
            tuple(map(sub, self.hits, other.hits)),
        )


Tallies = Mapping[Arm, Tally]


class Tick(NamedTuple):
    """An observation in terms of events."""

    number: int
    now_s: float

    arms: Mapping[Arm, Tally | None]
    """What each arm counted, the challenger under the canary's name; `None`: an arm that is needed did not report."""

    command: Command | None = None
    outcomes: Outcomes | None = None
    judgements: tuple[Judgement, ...] = ()

    pods: Mapping[Arm, Mapping[str, Tally]] = {}
    """Each pod of an arm, where the arm has several."""

    canary_is_down: bool = False


def tally(counts: Counts, reference: Reference) -> Tally:
    """Count the events of `reference` in one arm's counts.

    Raises:
        RolloutError: counts that were not taken on the rollout's histogram grid.
    """
    if not counts.fits(reference.grid):
        raise RolloutError("The counts of an arm are not on the rollout's grid. Deploy all arms with one grid.")
    latency, scores = list(accumulate(counts.latency)), list(accumulate(counts.scores, initial=0))
    answered, scored = latency[-1], scores[-1]
    slow = map(sub, repeat(answered), map(latency.__getitem__, reference.latency_edges))
    below = tuple(map(scores.__getitem__, reference.score_bounds))
    hits = (counts.failed, *slow, *map(sub, below[1:], below))
    return Tally(counts.failed + answered, answered, scored, hits)


def event_count(reference: Reference) -> int:
    """Number of events of a rollout."""
    return 1 + len(reference.latency_edges) + len(reference.score_starts)


def nothing(reference: Reference) -> Tally:
    """The tally of an arm that did nothing."""
    return Tally(0, 0, 0, (0,) * event_count(reference))


def added(old: Tallies, new: Tallies) -> Tallies:
    """The sum, arm by arm."""
    if not old:
        return new
    return {**old, **{arm: old[arm] + counted if arm in old else counted for arm, counted in new.items()}}


class Record(NamedTuple):
    """What the arms counted over some time, and the stable arm's part of it that is matched to the canary's.

    While the canary's share grows, most of its requests are late and most of the champion's early, so a champion that
    had a bad start would make a harmful canary look good in the sums (Simpson's paradox). So the champion's bad
    responses are matched: in each tick they are scaled down to as many requests as the canary had.
    """

    arms: Mapping[Arm, Tally] = {}
    """The shadow's count as the canary's."""

    matched: tuple[float, float] = (0.0, 0.0)
    """The stable arm's failures and SLO violations, matched tick by tick to the canary's requests."""

    def after(self, tick: Tallies, reference: Reference) -> Self:
        """The record with one more tick in it."""
        failed, slow = self.matched
        canary, stable = tick.get(Arm.CANARY), tick.get(Arm.STABLE)
        if canary and stable and stable.finished:
            scale = min(canary.finished / stable.finished, 1.0)
            failed += stable.failed * scale
            slow += stable.hits[reference.slo_event] * scale
        return type(self)(added(self.arms, tick), (failed, slow))

    def since(self, earlier: Self) -> Self:
        """What was counted after `earlier`."""
        if not earlier.arms:
            return self
        arms = {
            arm: counted - earlier.arms[arm] if arm in earlier.arms else counted for arm, counted in self.arms.items()
        }
        return type(self)(arms, (self.matched[0] - earlier.matched[0], self.matched[1] - earlier.matched[1]))

    def arm(self, arm: Arm, reference: Reference) -> Tally:
        """What one arm counted; nothing where it was not seen."""
        return self.arms.get(arm) or nothing(reference)
