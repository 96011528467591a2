"""What the rules look at: the state after a tick, with the numbers derived from it."""

from dataclasses import dataclass
from functools import cached_property

from perch.core.bounds import lower_bound, upper_bound
from perch.core.events import FAILED, slo_event
from perch.core.evidence import Family, merged
from perch.core.guard import SLOW_ALLOWED, own_events
from perch.core.policy import Policy
from perch.core.ramp import harm_bound
from perch.core.state import Pair, State
from perch.core.types import Arm, Counts, Observation, Phase
from perch.core.weighing import clear_family, counted, harm_family, needed


@dataclass(frozen=True)
class Situation:
    """A rollout at the end of a tick."""

    state: State
    policy: Policy
    observation: Observation

    weighed: bool
    """Whether the evidence moved in this tick; without it no weight is raised."""

    @property
    def threshold(self) -> float:
        """Evidence at which an arm is found to harm."""
        return 1 / self.policy.alpha

    @cached_property
    def e_value(self) -> float:
        """Evidence that the canary harms compared with the stable arm; 1 where they are not compared."""
        return self.evidence(Pair.CANARY_STABLE)

    @property
    def strongest(self) -> float:
        """The strongest evidence that any arm harms another."""
        return max(map(self.evidence, self.state.comparisons), default=1.0)

    @cached_property
    def harm_bound(self) -> float | None:
        """Upper bound on the canary's bad share minus the stable arm's."""
        canary, stable = self.total(Arm.CANARY), self.total(Arm.STABLE)
        return harm_bound(canary, stable, self.state.stable_bad, self.state.reference, self.policy)

    @property
    def champion_is_silent(self) -> bool:
        """Whether the stable arm is found not to answer the requests that it is given."""
        split = self.state.sample_ratio
        return split.stable_is_silent and split.e_value >= 1 / self.policy.sample_ratio_alpha

    @cached_property
    def no_data(self) -> str | None:
        """Why this tick says nothing about the canary, in words; `None` when it does."""
        arms = counted(self.state.phase, self.observation.arms)
        wanted = needed(self.state.phase)
        down = sorted(arm for arm, counts in arms.items() if arm in wanted and counts is None)
        if down:
            return f"the counts of {' and '.join(_NAMES[arm] for arm in down)} did not arrive"
        finished = {arm: counts.finished for arm, counts in arms.items() if counts is not None}
        if not any(finished.values()):
            return "no requests anywhere"
        weights = self.state.weights
        part = weights.mirror + weights.canary
        expected = finished.get(Arm.STABLE, 0) * part / weights.stable if weights.stable else 0.0
        if not finished[Arm.CANARY] and expected >= _NOTICEABLE:
            return f"the canary finished none of about {expected:,.0f} requests, while the champion answers"
        return None

    def total(self, arm: Arm) -> Counts:
        """What an arm counted in this stage."""
        return self.state.totals.get(arm) or Counts.none(self.state.reference.grid)

    def held(self, arm: Arm) -> Counts:
        """What an arm counted since the weights were last changed."""
        return self.state.held.get(arm) or Counts.none(self.state.reference.grid)

    def evidence(self, pair: Pair) -> float:
        """Evidence that the first arm of the pair harms compared with the second; 1 where they are not compared.

        A confirmation is about the event that rang: that alone can blame. It was chosen before the arms are compared
        afresh, so its share of the mixture, as if it were the whole, is valid by itself.
        """
        comparison = self.state.comparisons.get(pair)
        if comparison is None:
            return 1.0
        if self.state.phase is not Phase.CONFIRM:
            return merged(comparison.harm, 1 - self.state.spent)
        wealth, start = (
            self._family(pair).by_event(rows, self._events)[self._rang]
            for rows in (comparison.harm, self._family(pair).start(1.0))
        )
        return float(wealth / start)

    def heaviest_event(self, pair: Pair) -> int:
        """The event that carries the most evidence of harm."""
        if self.state.phase is Phase.CONFIRM:
            return self._rang
        return int(self._family(pair).by_event(self.state.comparisons[pair].harm, self._events).argmax())

    def champion_is_suspect(self, evidence: float) -> bool:
        """Whether the champion harms, compared with the baseline, with this evidence, and breaks what the SLO allows.

        A simple baseline may well be faster than a champion that keeps its promises.
        """
        if self.evidence(Pair.STABLE_BASELINE) < evidence:
            return False
        slow = self.heaviest_event(Pair.STABLE_BASELINE) != FAILED
        hits, trials = own_events(self.held(Arm.STABLE), self.state.reference)[slow]
        allowed = SLOW_ALLOWED if slow else self.state.reference.slo.error_rate
        return lower_bound(hits, trials, self.policy.beta) > allowed

    @property
    def _rang(self) -> int:
        guard = self.state.guard
        return slo_event(self.state.reference) if guard and guard.rang else FAILED

    @property
    def _events(self) -> int:
        return 1 + len(self.state.reference.latency_edges) + len(self.state.reference.expected)

    def _family(self, pair: Pair) -> Family:
        return harm_family(pair, self.state.phase, self.state.reference, self.policy)

    def clearance(self, pair: Pair) -> tuple[float, float]:
        """Odds against harm of the first arm, in failures and in SLO violations."""
        family = clear_family(pair, self.state.phase, self.state.reference)
        comparison = self.state.comparisons.get(pair)
        if comparison is None:
            return 1.0, 1.0
        by_event = family.by_event(comparison.cleared, 1 + int(family.event.max()))
        return float(by_event[family.event[0]]), float(by_event[family.event[-1]])

    def not_inferior(self) -> bool:
        """Whether it is proven, for failures and for SLO violations, that the canary is no worse than the champion.

        That is: its rate is at most `margin` above the champion's, or at most twice it. The difference is taken over
        the time since the weights were last changed: only then do both arms have the same part of each hour. The ratio
        is tested tick by tick, so it may use them all.

        `beta` bounds the probability of a false proof: a half for each event, of which one half pays for each form, and
        one half again for each of the two bounds of the difference.
        """
        canary = own_events(self.held(Arm.CANARY), self.state.reference)
        stable = own_events(self.held(Arm.STABLE), self.state.reference)
        error = self.policy.beta / 4
        ratios = (odds >= 1 / error for odds in self.clearance(Pair.CANARY_STABLE))
        return all(
            by_ratio or upper_bound(*c, error / 2) - lower_bound(*s, error / 2) < self.policy.margin
            for by_ratio, c, s in zip(ratios, canary, stable, strict=True)
        )


_NOTICEABLE = 3.0  # requests expected in a tick, below which none at all is no surprise
_NAMES = {Arm.CANARY: "the canary", Arm.STABLE: "the champion", Arm.BASELINE: "the baseline"}
