"""Backtest: a recorded rollout, decided again tick by tick, under its own policy or another one.

Under its own policy this is a check of the record: the core is given nothing but what the ledger holds, so every
decision must come out the same, bit for bit.

**What another policy's replay is worth.** Until the weights part it is what would have happened. From then on it is a
guess: other weights would have made other counts, and a canary with more traffic would have shown its harm sooner, to
more users. It still goes on, for the evidence compares arms at the shares that they really had, whatever the weights.
What rests on the weights themselves, the sample-ratio test, is left out from there. Where one is in the shadow stage
and the other is live, the canary's mirrored and live counts stand in for each other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from perch.core import Policy, State, begin, decide
from perch.core.policy import Labels
from perch.core.types import Action, Arm, Decision, Observation, Phase
from perch.errors import RolloutError
from perch.rollout.attempt import Attempt
from perch.rollout.ledger import Record


@dataclass(frozen=True, slots=True)
class Step:
    """What was decided in one tick."""

    tick: int
    elapsed_s: float
    """Since the rollout began."""

    decision: Decision
    outcome: Action | None
    """How the rollout has ended by this; `None` while it runs."""

    @property
    def deed(self) -> tuple[object, ...]:
        """What is done, whatever is said about it."""
        decided = self.decision
        return decided.action, decided.weights, decided.phase, decided.eject, self.outcome


@dataclass(frozen=True, slots=True)
class Backtest:
    """A record beside its replay, tick by tick."""

    recorded: tuple[Step, ...]
    replayed: tuple[Step, ...]
    """As many steps as were recorded, or fewer where the replay ends earlier."""

    guessed_from: int | None
    """The first tick whose counts are not those that the replay would have met; `None`: all are."""

    @property
    def exact(self) -> bool:
        """Whether every decision came out the same, bit for bit."""
        return self.replayed == self.recorded

    @property
    def same(self) -> int:
        """In how many ticks the same was done."""
        return sum(recorded.deed == again.deed for recorded, again in zip(self.recorded, self.replayed, strict=False))

    @property
    def departure(self) -> tuple[Step, Step] | None:
        """Where something else is done for the first time: as recorded, and in the replay."""
        pairs = zip(self.recorded, self.replayed, strict=False)
        return next(((recorded, again) for recorded, again in pairs if recorded.deed != again.deed), None)


def promotion(steps: Sequence[Step]) -> Step | None:
    """Where the canary was promoted, for the guard to watch; `None`: nowhere."""
    return next((step for step in steps if step.decision.action is Action.PROMOTE), None)


def backtest(record: Record, policy: Policy) -> Backtest:
    """Decide every tick of a record again under `policy`, until the rollout ends.

    Raises:
        RolloutError: the record has no tick, or its counts do not fit its own reference.
    """
    if not record.ticks:
        raise RolloutError(f"Rollout {record.attempt.name} has no tick yet, so there is nothing to decide again.")
    began, recorded, replayed = record.attempt.state, [], []
    state, seen, guessed_from = _beginning(record.attempt, policy), began.phase, None
    parted = state.weights != began.weights
    for tick in record.ticks:
        observation, elapsed_s = tick.observation, tick.observation.now_s - began.started_s
        recorded.append(Step(observation.tick, elapsed_s, tick.decision, tick.outcome))
        if state.phase is Phase.DONE:
            continue
        if parted:
            guessed_from = guessed_from or observation.tick
            state, observation = _unweighted(state), _renamed(observation, seen, state.phase)
        state, decision = decide(state, observation, policy)
        replayed.append(Step(observation.tick, elapsed_s, decision, state.outcome))
        parted, seen = parted or decision.weights != tick.decision.weights, tick.decision.phase
    return Backtest(tuple(recorded), tuple(replayed), guessed_from)


def untried(record: Record, policy: Policy) -> Iterator[str]:
    """What a record cannot tell of `policy`, a sentence each."""
    seen, recorded = [tick.observation for tick in record.ticks], record.attempt.policy
    outcomes = (one.outcomes for one in seen if one.outcomes is not None)
    if policy.labels is not Labels.IGNORED and not any(one.cohorts or one.paired for one in outcomes):
        yield "Labels are not tried: none were recorded."
    if policy.external_judge and not any(one.judgements for one in seen):
        yield "The judge from outside (externalJudge) is not tried: no judgement was recorded."
    limits = policy.rollback_limit, policy.rollback_window_s
    if limits != (recorded.rollback_limit, recorded.rollback_window_s):
        yield "rollbackLimit and rollbackWindowS are not tried: they are not part of a rollout."


def _beginning(attempt: Attempt, policy: Policy) -> State:
    """The first state: as recorded under the policy's own, made afresh under another one."""
    if policy == attempt.policy:
        return attempt.state
    fixed = attempt.state.reference
    arms = attempt.deployed.keys() - {Arm.SHADOW}
    return begin(policy, fixed.slo, fixed, arms, attempt.state.started_s)


def _unweighted(state: State) -> State:
    """The state, told that the split in force is not known, as where a source has just missed a tick."""
    return state._replace(sources_down_s=state.now_s)


def _renamed(observation: Observation, seen: Phase, phase: Phase) -> Observation:
    """The challenger's counts, taken in the phase `seen`, under the name of the arm that `phase` looks at."""
    was, wanted = (Arm.SHADOW if one is Phase.SHADOW else Arm.CANARY for one in (seen, phase))
    if was is wanted:
        return observation
    others = {arm: counts for arm, counts in observation.arms.items() if arm is not was}
    pods = {wanted if arm is was else arm: counts for arm, counts in observation.pods.items() if arm is not wanted}
    return replace(observation, arms={**others, wanted: observation.arms.get(was)}, pods=pods)
