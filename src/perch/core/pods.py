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

**Assumed**: which pod of its arm a request went to says nothing about how hard it was. A balancer that sends long
requests to idle pods, or a client that stays with one pod, breaks that. So does a cold start: a pod that comes late is
slow once; the cut of latency makes that less than a verdict.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Self

from perch.core.events import Tally
from perch.core.evidence import comparable, core_family
from perch.core.policy import Policy
from perch.core.reference import Reference
from perch.core.vector import Vector

_MOST_PODS = 50
_SUSPICIOUS = 10.0
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

    present: bool = True
    """Whether the last tick had counts of it."""

    @property
    def e_value(self) -> float:
        """Evidence that the pod is worse than the rest of its arm; 1 means none."""
        return float(self.own.array.sum())

    @property
    def rest_is_sound(self) -> bool:
        """Whether there is hardly any evidence against the arm without this pod."""
        return float(self.rest.array.sum()) < _SUSPICIOUS


@dataclass(frozen=True, slots=True)
class Pods:
    """Evidence about each pod of one arm."""

    known: Mapping[str, Pod] = field(default_factory=dict)
    """By name; at most 50. The pods beyond count for their arm, but are not told apart."""

    seen: int = 0
    """Pods that were ever known."""

    arm: Vector | None = None
    """Wealth on "the arm is worse than the other arm", with which the rest of a new pod begins. `None`: no counts."""

    def after(self, pods: Mapping[str, Tally], other: Tally | None, reference: Reference, policy: Policy) -> Self:
        """Evidence after a tick.

        Args:
            pods: What each pod of the arm counted. A new name begins at 1. A name that is missing keeps its evidence,
                for a pod that crashes comes back, until its place is needed.
            other: What the other arm counted; `None` where that is not known.
            reference: The events of the rollout.
            policy: How many times as often a pod may fail, or be slow, as the others.
        """
        if not pods:
            return self
        family = core_family(reference, policy)
        total = reduce(add, pods.values())
        nothing = total - total

        def bet(wealth: Vector, first: Tally, second: Tally) -> Vector:
            return Vector(family.bet(wealth.array, comparable(first, second)))

        def moved(name: str, pod: Pod) -> Pod:
            counted = pods.get(name, nothing)
            rest = total - counted
            return Pod(pod.share, bet(pod.own, counted, rest), bet(pod.rest, rest, other or nothing), name in pods)

        start = Vector(family.prior.copy())
        arm = self.arm or start
        known = self._kept(pods) | self._admitted(pods, start, arm)
        return type(self)(
            known={name: moved(name, pod) for name, pod in known.items()},
            seen=self.seen + len(known.keys() - self.known.keys()),
            arm=bet(arm, total, other or nothing),
        )

    def culprit(self, policy: Policy) -> str | None:
        """Name the pod that is proven to be worse than the rest of its arm, if the arm without it is not in doubt."""
        return self._worst(lambda pod: pod.e_value * pod.share * policy.pod_alpha >= 1)

    @property
    def suspect(self) -> str | None:
        """The pod that may be the one to blame, if any: worse than the rest by 10 to 1, and the rest is not in doubt.

        When an arm's evidence has reached its threshold, a suspect is a reason to wait a few responses for the verdict.
        """
        return self._worst(lambda pod: pod.e_value >= _SUSPICIOUS)

    def _worst(self, blamed: Callable[[Pod], bool]) -> str | None:
        found = (name for name, pod in self.known.items() if pod.present and pod.rest_is_sound and blamed(pod))
        return max(found, key=lambda name: self.known[name].e_value, default=None)

    def _kept(self, pods: Mapping[str, Tally]) -> dict[str, Pod]:
        """Those that are known, without the missing ones where there is no place for all."""
        is_full = len(self.known.keys() | pods.keys()) > _MOST_PODS
        return {name: pod for name, pod in self.known.items() if name in pods or not is_full}

    def _admitted(self, pods: Mapping[str, Tally], start: Vector, arm: Vector) -> dict[str, Pod]:
        """Those that are new, as far as there is place, by name."""
        places = _MOST_PODS - len(self._kept(pods))
        names = sorted(pods.keys() - self.known.keys())[:places]
        return {name: Pod(_share(j), start, arm) for j, name in enumerate(names, start=self.seen + 1)}


def _share(j: int) -> float:
    """The part of the error probability that goes to the `j`-th pod, counted from 1."""
    return _EVEN / ((j + _EVEN - 1) * (j + _EVEN))
