"""One bad pod told from a bad version: the split test between the pods of one arm.

Each pod is compared with the rest of its arm, by failures and SLO violations: its share s is that of the arm's requests
that it finished. All pods run the same version, so what is the version's fault falls on each by its share, and what
does not is the pod's. And for each pod the rest of the arm is compared with the other arm: if that says nothing, taking
the pod out is enough. The test, its cut of latency and its tolerance are those of `perch.core.evidence`.

**Many pods.** The j-th pod ever seen in an arm gets the part w_j = 5 / ((j + 4) (j + 5)) of `Policy.pod_alpha`, and is
found bad when its evidence reaches 1 / (w_j pod_alpha). These parts add up to 1 over any number of pods, for they are
differences of 5 / (j + 4). So by the union bound the probability that any good pod of the arm is ever found bad is at
most `pod_alpha`, however pods come and go and however bad others are. An equal division needs to know their number, and
the average over pods tells only that some pod is bad. The price is small: among five pods at most a factor of 3.6
against division by five, about one failure.

**When.** A batch is weighed when the arm has finished 4 requests for each pod: with one request in all, it is one pod's
alone and tells nothing. Like every batch it ends by a rule on counts, not on outcomes.

**Assumed**: which pod of its arm a request went to says nothing about how hard it was. A balancer that sends long
requests to idle pods, or a client that stays with one pod, breaks that. So does a cold start: a pod that comes late is
slow once; the cut of latency makes that less than a verdict.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from typing import Self

from perch.core.events import Tally
from perch.core.evidence import Family, blaming, comparable, core_family
from perch.core.policy import Policy
from perch.core.reference import Reference
from perch.core.vector import Vector

_MOST_PODS = 50
_SOUND = 10.0
_SUSPICIOUS = 3.0
_FEWEST_REQUESTS = 4  # for each pod, in a batch
_START_MASS = 0.9
_LATE_BATCHES = 30  # between two bets on harm that begins now
_LATE_PACE = (1 - _START_MASS) * 120
_EVEN = 5  # the larger, the more evenly the first pods share the error probability


@dataclass(frozen=True, slots=True)
class Pod:
    """What is known of one pod of an arm; wealth is on the bets of `evidence.core_family`."""

    share: float
    """Its part of `Policy.pod_alpha`."""

    own: Vector
    """Wealth on "this pod is worse than the rest of its arm"."""

    rest: Vector
    """Wealth on "the arm without this pod is worse than the other arm"."""

    spent: float = _START_MASS
    """Mass of both mixtures over change times that is at work."""

    batches: int = 0
    in_service: bool = True
    """Whether it finished requests in the last batch."""

    is_compared: bool = False
    """Whether the rest of its arm did so, too: without that nothing tells them apart."""

    @property
    def e_value(self) -> float:
        """Evidence that the pod is worse than the rest of its arm; 1 means none."""
        return blaming(self.own.array) + 1 - self.spent

    @property
    def rest_is_sound(self) -> bool:
        """Whether there is hardly any evidence against the arm without this pod."""
        return blaming(self.rest.array) + 1 - self.spent < _SOUND

    def after(self, counted: Tally, rest: Tally, other: Tally, family: Family) -> Self:
        """The pod after a batch, with the counts of the rest of its arm and of the other arm."""
        is_due = self.batches % _LATE_BATCHES == _LATE_BATCHES - 1
        late = (1 - self.spent) ** 2 / (_LATE_PACE + 1 - self.spent) if is_due else 0.0
        own, to_rest = family.more(self.own.array, late), family.more(self.rest.array, late)
        return replace(
            self,
            own=Vector(family.bet(own, comparable(counted, rest))),
            rest=Vector(family.bet(to_rest, comparable(rest, other))),
            spent=self.spent + late,
            batches=self.batches + 1,
            in_service=counted.finished > 0,
            is_compared=counted.finished > 0 and rest.finished > 0,
        )


@dataclass(frozen=True, slots=True)
class Pods:
    """Evidence about each pod of one arm."""

    known: Mapping[str, Pod] = field(default_factory=dict)
    """By name; at most 50. The pods beyond count for their arm, but are not told apart."""

    seen: int = 0
    """Pods that were ever known."""

    waiting: Mapping[str, Tally] = field(default_factory=dict)
    """Counts of the pods that are not weighed yet."""

    other: Tally | None = None
    """What the other arm counted meanwhile; `None`: nothing."""

    ejected: Mapping[str, float] = field(default_factory=dict)
    """Pods that were to be taken out, and when, in seconds of the rollout's clock. Nothing is said of them any more:
    one that goes on counts as its version's."""

    def after(self, pods: Mapping[str, Tally], other: Tally, reference: Reference, policy: Policy) -> Self:
        """Evidence after a tick in which the sources of both arms answered.

        Args:
            pods: What each pod of the arm counted. A new name begins at 1. A name that is missing keeps its evidence,
                for a pod that crashes comes back, until its place is needed.
            other: What the other arm counted.
            reference: The events of the rollout.
            policy: How many times as often a pod may fail, or be slow, as the others.
        """
        pods = {name: counted for name, counted in pods.items() if name not in self.ejected}
        if not pods:
            return self
        waiting = {**self.waiting, **{name: _sum(self.waiting.get(name), counted) for name, counted in pods.items()}}
        gathered = replace(self, waiting=waiting, other=_sum(self.other, other))
        if sum(counted.finished for counted in waiting.values()) < _FEWEST_REQUESTS * len(waiting):
            return gathered
        return gathered.weighed(reference, policy)

    def without(self, name: str, now_s: float) -> Self:
        """Start over without a pod that is to be taken out: what the others are compared with holds its failures."""
        return type(self)(seen=self.seen, ejected={**self.ejected, name: now_s})

    def culprit(self, policy: Policy) -> str | None:
        """Name the pod that is proven to be worse than the rest of its arm, if the arm without it is not in doubt."""
        found = {name: pod for name, pod in self.known.items() if pod.e_value * pod.share * policy.pod_alpha >= 1}
        return _worst({name: pod for name, pod in found.items() if pod.in_service})

    def suspect(self, reference: Reference, policy: Policy) -> str | None:
        """Name the pod that may be to blame: worse than the rest by 3 to 1 so far, and the rest is not in doubt.

        When an arm's evidence has reached its threshold, a suspect is a reason to wait a few responses for the verdict.
        That is no proof, so it looks at what was counted just now, too. A pod that serves alone, now and in the last
        batch, cannot be told from its version, and is no reason.
        """
        now = self.weighed(reference, policy) if self.waiting else self
        compared = {name for pods in (self, now) for name, pod in pods.known.items() if pod.is_compared}
        suspicious = {name: pod for name, pod in now.known.items() if pod.e_value >= _SUSPICIOUS}
        return _worst({name: pod for name, pod in suspicious.items() if name in compared})

    def weighed(self, reference: Reference, policy: Policy) -> Self:
        """Evidence with the counts that wait, of which there must be some."""
        family = core_family(reference, policy)
        arm = reduce(add, self.waiting.values())
        nothing = arm - arm
        start = Vector(family.start(_START_MASS))
        known = {}
        for name, pod in self._with_new(start).items():
            counted = self.waiting.get(name, nothing)
            known[name] = pod.after(counted, arm - counted, self.other or nothing, family)
        return type(self)(known, self.seen + len(known.keys() - self.known.keys()), ejected=self.ejected)

    def _with_new(self, start: Vector) -> dict[str, Pod]:
        """The known pods and the new ones, by name; where there is no place for all, without those that are missing."""
        is_full = len(self.known.keys() | self.waiting.keys()) > _MOST_PODS
        kept = {name: pod for name, pod in self.known.items() if name in self.waiting or not is_full}
        new = sorted(self.waiting.keys() - kept.keys())[: _MOST_PODS - len(kept)]
        return kept | {name: Pod(_share(j), start, start) for j, name in enumerate(new, start=self.seen + 1)}


def _worst(blamed: Mapping[str, Pod]) -> str | None:
    """The pod with the most evidence, of those whose arm is sound without it."""
    sound = {name: pod.e_value for name, pod in blamed.items() if pod.rest_is_sound}
    return max(sound, key=lambda name: sound[name], default=None)


def _sum(old: Tally | None, new: Tally) -> Tally:
    return new if old is None else old + new


def _share(j: int) -> float:
    """The part of the error probability that goes to the `j`-th pod, counted from 1."""
    return _EVEN / ((j + _EVEN - 1) * (j + _EVEN))
