"""One bad pod in a rollout: it is taken out, and its version goes on."""

from dataclasses import replace
from functools import reduce
from operator import add

from core_market import GOOD, LIVE_ONLY, Market, Version, always
from perch.core import Cause
from perch.core.events import added
from perch.core.pods import Pods
from perch.core.types import Action, Arm, Counts, Phase

PODS = tuple(f"pod-{i}" for i in range(5))
SICK = Version(error_rate=0.2)
POLICY = replace(LIVE_ONLY, start_weight=0.5, bake_s=60.0, margin=0.05)


class Podded(Market):
    """A market in which one arm has five pods, of which one may be sick until it is taken out."""

    def __init__(self, arm=Arm.CANARY, sick="pod-2", **settings):
        self.arm, self.sick, self.out = arm, sick, set()
        super().__init__(**{"policy": POLICY, "edit": self.divide, **settings})

    def step(self):
        decision = super().step()
        self.out |= set(decision.eject)
        return decision

    def divide(self, observation):
        """Serve the arm's requests again, by its pods."""
        version = getattr(self, self.arm.value)(self.state.phase, 0.0)
        names = [name for name in PODS if name not in self.out]
        n = self.rng.multinomial(observation.arms[self.arm].requests, [1 / len(names)] * len(names)).tolist()
        pods = {
            name: (SICK if name == self.sick else version).serve(k, self.rng) for name, k in zip(names, n, strict=True)
        }
        total = reduce(add, pods.values(), Counts.none(self.reference.grid))
        return replace(observation, arms={**observation.arms, self.arm: total}, pods={self.arm: pods})

    def run_until_one_is_out(self):
        return self.run(400, until=lambda _: bool(self.out))

    def ejections(self):
        return [decision for decision in self.decisions if decision.eject]


def test_the_one_sick_pod_of_the_canary_is_taken_out_and_its_version_promoted():
    for seed in range(6):
        market = Podded(seed=seed)
        state = market.run(400, until=lambda state: state.phase in (Phase.GUARD, Phase.DONE))
        assert state.phase is Phase.GUARD, market.sentence
        assert market.out == {"pod-2"}
        (ejection,) = market.ejections()
        assert (ejection.action, ejection.phase) == (Action.HOLD, Phase.RAMP)
        assert ejection.sentence.startswith("Pod pod-2 of the canary is taken out")


def test_a_sick_pod_of_the_champion_is_taken_out_as_well():
    for seed in range(3):
        market = Podded(arm=Arm.STABLE, seed=seed)
        market.run(60)
        assert market.out == {"pod-2"}
        assert "of the champion" in market.ejections()[0].sentence
        assert market.state.outcome is None


def test_what_was_counted_with_the_pod_in_it_is_forgotten():
    market = Podded()
    market.run_until_one_is_out()
    state = market.state
    assert "pod-2" not in state.pods[Arm.CANARY].known
    assert state.before_stage == state.before_live == state.before_weights == state.seen
    weight, next_decision = state.weights.canary, market.step()
    assert next_decision.e_value < 5
    assert next_decision.weights.canary == weight


def test_a_sick_version_is_blamed_and_none_of_its_pods():
    for seed in range(6):
        market = Podded(sick=None, canary=always(SICK), seed=seed)
        assert market.run(200).cause is Cause.HARM
        assert market.out == set()


def test_while_one_pod_is_under_suspicion_the_verdict_on_its_version_waits():
    waited = 0
    for seed in range(6):
        market = Podded(seed=seed)
        market.run_until_one_is_out()
        waits = [d for d in market.decisions if d.sentence.startswith("Waiting for a few more responses")]
        assert all(d.action is Action.HOLD and d.e_value >= 100 for d in waits)
        waited += len(waits)
    assert waited


def test_the_verdict_waits_for_one_pod_four_minutes_and_no_longer(monkeypatch):
    """Whatever makes one of the pods look worse, and never so much that it is taken out."""
    monkeypatch.setattr(Pods, "suspect", lambda *_: "pod-1")
    monkeypatch.setattr(Pods, "culprit", lambda *_: None)
    market = Podded(sick=None, canary=always(SICK))
    market.run(400)
    waits = [d for d in market.decisions if d.sentence.startswith("Waiting for a few more responses")]
    assert market.state.cause is Cause.HARM
    assert len(waits) == 240


def test_an_ejected_pods_last_requests_are_left_out_and_one_that_stays_counts_for_its_version():
    class Stubborn(Podded):
        """Nobody takes the pod out."""

        def step(self):
            decision = super().step()
            self.out = set()
            return decision

    market = Stubborn()
    market.run(200, until=lambda _: bool(market.ejections()))
    ejected_s, before = market.state.now_s, market.state.seen.arms[Arm.CANARY]
    assert set(market.state.pods[Arm.CANARY].ejected) == {"pod-2"}
    market.run(25)
    assert market.state.outcome is None
    late = added({Arm.CANARY: market.state.seen.arms[Arm.CANARY]}, market.state.batch.arms)[Arm.CANARY] - before
    answered = sum(seen.arms[Arm.CANARY].requests for seen in market.observations[-25:])
    assert 0.7 * answered < late.finished < 0.9 * answered
    assert late.failed <= 0.01 * late.finished
    assert market.run(200).cause is Cause.HARM
    assert market.state.now_s - ejected_s > 30
    assert len(market.ejections()) == 1


def test_an_arm_whose_pods_are_told_no_more_is_one_arm_again():
    market = Podded(sick=None)
    market.run(5)
    assert set(market.state.pods) == {Arm.CANARY}
    market.edit = lambda observation: observation
    market.run(1)
    assert market.state.pods == {}


def test_a_sick_pod_of_the_shadow_is_taken_out_of_the_canary():
    def mirrored(observation):
        names = {name: SICK if name == "pod-2" else GOOD for name in PODS if name not in market.out}
        pods = {name: version.serve(20, market.rng) for name, version in names.items()}
        total = reduce(add, pods.values(), Counts.none(market.reference.grid))
        return replace(observation, arms={**observation.arms, Arm.SHADOW: total}, pods={Arm.SHADOW: pods})

    market = Podded(policy=replace(POLICY, shadow=True, shadow_s=300.0), edit=mirrored)
    market.run_until_one_is_out()
    assert market.out == {"pod-2"}
    assert market.state.phase is Phase.SHADOW
    assert "of the canary" in market.ejections()[0].sentence


def test_a_promoted_version_keeps_its_place_when_one_of_its_pods_falls_sick():
    class LaterSick(Podded):
        def divide(self, observation):
            self.sick = "pod-2" if self.promoted_s and self.state.now_s > self.promoted_s + 20 else None
            return super().divide(observation)

    for seed in range(3):
        market = LaterSick(sick=None, seed=seed, policy=replace(POLICY, guard_s=120.0))
        state = market.run(600)
        assert market.out == {"pod-2"}
        assert state.outcome is Action.PROMOTE, market.sentence
