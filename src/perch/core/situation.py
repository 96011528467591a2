"""What the rules look at: the state after a tick, with the numbers derived from it."""

from dataclasses import dataclass, field

from perch.core.bounds import lower_bound
from perch.core.events import FAILED, Record, Tally, Tick
from perch.core.evidence import Family, blaming, cleared
from perch.core.guard import SLOW_ALLOWED, own_events
from perch.core.policy import Policy
from perch.core.ramp import excess_bound, harm_bound
from perch.core.sources import Source, parts
from perch.core.state import Pair, State
from perch.core.types import Arm, Phase
from perch.core.weighing import LONGEST_WAIT_S, family, needed


@dataclass(frozen=True, slots=True)
class Situation:
    """A rollout at the end of a tick."""

    state: State

    weighed: bool
    """Whether the evidence moved in this tick; without it no weight is raised."""

    policy: Policy
    tick: Tick

    e_value: float = field(init=False)
    """Evidence that the canary harms compared with the stable arm: the largest of any source; 1 where none tells."""

    harm_bound: float | None = field(init=False)
    """Upper bound on the canary's bad share minus the stable arm's."""

    def __post_init__(self) -> None:
        """Derive what every tick's record holds."""
        object.__setattr__(self, "e_value", max(self.by_source.values()))
        object.__setattr__(self, "harm_bound", harm_bound(self.stage, self.state.reference, self.policy))

    @property
    def by_source(self) -> dict[Source, float]:
        """Evidence that the canary harms, as far as each source's part of `Policy.alpha` lets it count."""
        if self.state.phase is Phase.CONFIRM:  # a confirmation has an alpha of its own
            return {Source.COUNTS: self.evidence(Pair.CANARY_STABLE)}
        return {source: part * self._evidence_from(source) for source, part in parts(self.policy).items() if part}

    def _evidence_from(self, source: Source) -> float:
        match source:
            case Source.COUNTS:
                return self.evidence(Pair.CANARY_STABLE)
            case Source.PAIRED:
                return self.state.paired.e_value
            case Source.CLICKS:
                return self.state.clicks.e_value
            case Source.JUDGE:
                return self.state.judge.e_value

    @property
    def loudest(self) -> Source:
        """Where the evidence that the canary harms comes from."""
        by_source = self.by_source
        return max(by_source, key=lambda source: by_source[source])

    @property
    def labels_are_cleared(self) -> bool:
        """Whether it is proven that the canary's outcomes are no worse, by either kind of label."""
        return max(self.state.paired.cleared, self.state.clicks.cleared) >= 2 / self.policy.beta

    @property
    def threshold(self) -> float:
        """Evidence at which an arm is found to harm."""
        return 1 / self.policy.alpha

    @property
    def strongest(self) -> float:
        """The strongest evidence that any arm harms another."""
        return max(map(self.evidence, self.state.comparisons), default=1.0)

    @property
    def stage(self) -> Record:
        """What the arms counted in this stage."""
        return self.state.seen.since(self.state.before_stage)

    @property
    def held(self) -> Record:
        """What they counted since the weights were last changed."""
        return self.state.seen.since(self.state.before_weights)

    @property
    def champion_is_silent(self) -> bool:
        """Whether the stable arm is found not to answer the requests that it is given."""
        split = self.state.sample_ratio
        return split.stable_is_silent and split.e_value >= 1 / self.policy.sample_ratio_alpha

    @property
    def canary_was_down(self) -> bool:
        """Whether nothing ran just now that could answer as the canary, so that its silence says nothing of it."""
        return self.state.down_s is not None and self.state.now_s - self.state.down_s < LONGEST_WAIT_S

    @property
    def no_data(self) -> str | None:
        """Why this tick says nothing about the canary, in words; `None` when it does."""
        arms = self.tick.arms
        down = [arm for arm in needed(self.state.phase) if arms[arm] is None]
        if down:
            return f"the counts of {' and '.join(_NAMES[arm] for arm in sorted(down))} did not arrive"
        finished = {arm: counts.finished for arm, counts in arms.items() if counts is not None}
        if finished[Arm.CANARY]:
            return None
        if not any(finished.values()):
            return "no requests anywhere"
        weights = self.state.weights
        part = weights.mirror + weights.canary
        expected = finished.get(Arm.STABLE, 0) * part / weights.stable if weights.stable else 0.0
        if expected < _NOTICEABLE:
            return None
        return f"the canary finished none of about {expected:,.0f} requests, while the champion answers"

    def total(self, arm: Arm) -> Tally:
        """What an arm counted in this stage."""
        return self.stage.arm(arm, self.state.reference)

    def evidence(self, pair: Pair) -> float:
        """Evidence that the first arm of the pair harms compared with the second; 1 where they are not compared.

        A confirmation is about the event that rang: that alone can blame. It was chosen before the arms are compared
        afresh, so its share of the mixture, as if it were the whole, is valid by itself.
        """
        wealth = self.state.comparisons.get(pair)
        if wealth is None:
            return 1.0
        if self.state.phase is not Phase.CONFIRM:
            return blaming(wealth.array) + 1 - self.state.spent
        bets = self._family(pair)
        return float(bets.harm(wealth.array)[self._rang] / bets.harm(bets.start(1.0))[self._rang])

    def heaviest_event(self, pair: Pair) -> int:
        """The event that carries the most evidence of harm."""
        if self.state.phase is Phase.CONFIRM:
            return self._rang
        return int(self._family(pair).harm(self.state.comparisons[pair].array).argmax())

    def champion_is_suspect(self, evidence: float) -> bool:
        """Whether the champion harms, compared with the baseline, with this evidence, and breaks what the SLO allows.

        A simple baseline may well be faster than a champion that keeps its promises.
        """
        if self.evidence(Pair.STABLE_BASELINE) < evidence:
            return False
        slow = self.heaviest_event(Pair.STABLE_BASELINE) != FAILED
        hits, trials = own_events(self.held.arm(Arm.STABLE, self.state.reference), self.state.reference)[slow]
        allowed = SLOW_ALLOWED if slow else self.state.reference.slo.error_rate
        return lower_bound(hits, trials, self.policy.beta) > allowed

    @property
    def _rang(self) -> int:
        guard = self.state.guard
        return self.state.reference.slo_event if guard and guard.rang else FAILED

    def _family(self, pair: Pair) -> Family:
        return family(pair, self.state.phase, self.state.reference, self.policy)

    def clearance(self, pair: Pair) -> tuple[float, float]:
        """Odds against harm of the first arm, in failures and in SLO violations."""
        wealth = self.state.comparisons.get(pair)
        return cleared(wealth.array) if wealth else (1.0, 1.0)

    def not_inferior(self) -> bool:
        """Whether it is proven, for failures and for SLO violations, that the canary is no worse than the champion.

        That is: over its live requests its rate is at most `margin` above the champion's in the same ticks, or at most
        twice it. `beta` bounds the probability of a false proof: a half for each event, of which one half pays for each
        form.
        """
        live, reference = self.state.seen.since(self.state.before_live), self.state.reference
        canary, stable = (own_events(live.arm(arm, reference), reference) for arm in (Arm.CANARY, Arm.STABLE))
        error = self.policy.beta / 4
        ratios = (odds >= 1 / error for odds in self.clearance(Pair.CANARY_STABLE))
        return all(
            by_ratio or (c[1] > 0 and excess_bound(*c, matched, s[1], error) < self.policy.margin)
            for by_ratio, c, matched, s in zip(ratios, canary, live.matched, stable, strict=True)
        )


_NOTICEABLE = 3.0  # requests expected in a tick, below which none at all is no surprise
_NAMES = {Arm.CANARY: "the canary", Arm.STABLE: "the champion", Arm.BASELINE: "the baseline"}
