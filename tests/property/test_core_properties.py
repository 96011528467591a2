"""What holds for any counts: only counts matter, no weight rises without evidence, a restart changes nothing."""

from dataclasses import replace
from functools import reduce
from operator import add

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core_market import ALL_ARMS, GRID, SLO, TWO_ARMS
from perch.core import (
    Policy,
    State,
    begin,
    decide,
    dumps,
    loads,
    reference,
)
from perch.core.paired import spread
from perch.core.policy import Labels
from perch.core.types import (
    Action,
    Arm,
    Cohort,
    Command,
    Counts,
    Decision,
    Judgement,
    Observation,
    Outcomes,
    Phase,
    Weights,
)

POLICY = Policy(
    shadow_s=3.0,
    ramp_interval_s=2.0,
    bake_s=8.0,
    min_requests=30,
    guard_s=8.0,
    guard_quiet_s=30.0,
    margin=0.2,
    beta=0.2,
)
LATENCY_BINS, SCORE_BINS = len(GRID.latency_ms) + 1, len(GRID.score_logit) + 1
SLOW_BIN = LATENCY_BINS - 1


def counts_of(requests):
    """Counts of single requests: `None` failed, else (latency bin, score bin)."""
    latency, scores = [0] * LATENCY_BINS, [0] * SCORE_BINS
    for answered in requests:
        if answered:
            latency[answered[0]] += 1
            scores[answered[1]] += 1
    return Counts(len(requests), requests.count(None), tuple(latency), tuple(scores))


STABLE = counts_of([(i % 20, 10 + i % 50) for i in range(2_000)])
REFERENCE = reference(STABLE, GRID, SLO, (STABLE.scores, STABLE.scores), champion_loss=0.3)

answers = st.tuples(st.sampled_from([2, 11, 14, SLOW_BIN]), st.sampled_from([12, 30, 55]))
requests = st.lists(st.one_of(st.just((2, 30)), answers, st.none()), max_size=40)
many = st.integers(0, 400).map(
    lambda n: Counts(n, 0, (n, *[0] * SLOW_BIN), tuple(n if i == 30 else 0 for i in range(SCORE_BINS)))
)
present = st.one_of(requests.map(counts_of), many, many, many)
arm_counts = st.one_of(st.none(), present, present, present)
commands = st.sampled_from([None] * 12 + [Command.PAUSE, Command.RESUME, Command.PROMOTE])
cohorts = st.builds(Cohort, st.sampled_from([0.01, 0.5, 0.98]), st.integers(0, 5), st.integers(0, 5))
losses = st.lists(st.floats(-1, 1), max_size=5).map(lambda drawn: spread(drawn) if drawn else ())
outcomes = st.one_of(st.none(), st.builds(Outcomes, st.tuples(cohorts), losses))
judgements = st.lists(st.builds(Judgement, st.floats(0, 1)), max_size=1).map(tuple)
policies = st.builds(
    replace,
    st.just(POLICY),
    shadow=st.booleans(),
    labels=st.sampled_from(Labels),
    external_judge=st.booleans(),
    warm_up_requests=st.sampled_from([0, 0, 60]),
    require_approval=st.sampled_from([False, False, True]),
)
pods = st.one_of(st.none(), st.none(), st.dictionaries(st.sampled_from("abc"), present, min_size=2))


@st.composite
def observed(draw, tick, arms):
    """One tick, in which sources may fail, labels and a judge tell something, and the canary may have pods."""
    counts = {arm: draw(arm_counts) for arm in (Arm.STABLE, Arm.CANARY, Arm.SHADOW)}
    if arms is ALL_ARMS:
        counts[Arm.BASELINE] = draw(arm_counts)
    told = {"command": draw(commands), "outcomes": draw(outcomes), "judgements": draw(judgements)}
    if by_pod := draw(pods):
        counts[Arm.CANARY], told["pods"] = reduce(add, by_pod.values()), {Arm.CANARY: by_pod}
    return Observation(tick, 100.0 + tick, counts, **told)


@st.composite
def rollouts(draw):
    """A policy, the arms and up to 30 observations."""
    arms = draw(st.sampled_from([ALL_ARMS, TWO_ARMS]))
    ticks = draw(st.integers(1, 30))
    return draw(policies), arms, [draw(observed(tick, arms)) for tick in range(ticks)]


def start(policy, arms):
    return begin(policy, SLO, REFERENCE, arms, 99.0)


def replay(state, observations, policy):
    decisions = []
    for observation in observations:
        state, decision = decide(state, observation, policy)
        decisions.append(decision)
    return state, decisions


@given(rollouts())
@settings(max_examples=70, deadline=None)
def test_no_weight_rises_without_counts_evidence_or_a_persons_wish(rollout):
    policy, arms, observations = rollout
    state = start(policy, arms)
    for observation in observations:
        before, (state, decision) = state, decide(state, observation, policy)
        if decision.weights.canary <= before.weights.canary:
            continue
        if observation.command is Command.PROMOTE:
            continue
        challenger = Arm.SHADOW if before.phase is Phase.SHADOW else Arm.CANARY
        assert not state.paused
        assert observation.arms[challenger] is not None
        assert decision.e_value <= policy.freeze_e_value or before.phase in (Phase.CONFIRM, Phase.GUARD)
        assert decision.action in (Action.RAMP, Action.PROMOTE)
        if before.phase is Phase.RAMP and decision.action is Action.RAMP:
            assert decision.weights.canary <= min(2 * before.weights.canary, policy.max_weight) + 1e-12
            assert state.now_s - before.weights_since_s >= policy.ramp_interval_s


@given(rollouts())
@settings(max_examples=50, deadline=None)
def test_weights_are_shares_that_add_up_to_one(rollout):
    policy, arms, observations = rollout
    for decision in replay(start(policy, arms), observations, policy)[1]:
        weights = decision.weights
        assert weights.baseline + weights.stable + weights.canary == pytest.approx(1)
        assert min(weights.baseline, weights.stable, weights.canary, weights.mirror) >= 0
        assert decision.sentence.endswith(".")


@given(rollouts(), st.data())
@settings(max_examples=50, deadline=None)
def test_a_restart_at_any_tick_ends_the_same(rollout, data):
    policy, arms, observations = rollout
    crash = data.draw(st.integers(0, len(observations)))
    state, before = replay(start(policy, arms), observations[:crash], policy)
    restored = loads(State, dumps(state))
    assert restored == state
    end, decisions = replay(restored, observations[crash:], policy)
    assert (end, before + decisions) == replay(start(policy, arms), observations, policy)


@given(rollouts())
@settings(max_examples=40, deadline=None)
def test_a_ledger_replays_bit_for_bit(rollout):
    policy, arms, observations = rollout
    _, decisions = replay(start(policy, arms), observations, policy)
    ledger = [(dumps(o), dumps(d)) for o, d in zip(observations, decisions, strict=True)]
    state = loads(State, dumps(start(policy, arms)))
    for observed, decided in ledger:
        state, decision = decide(state, loads(Observation, observed), policy)
        assert dumps(decision) == decided
        assert loads(Decision, decided) == decision


@given(rollouts(), st.data())
@settings(max_examples=25, deadline=None)
def test_a_tick_told_twice_counts_once(rollout, data):
    policy, arms, observations = rollout
    i = data.draw(st.integers(0, len(observations) - 1))
    repeated = observations[: i + 1] + observations[i:]
    assert replay(start(policy, arms), repeated, policy)[0] == replay(start(policy, arms), observations, policy)[0]


@given(requests, requests, st.randoms())
@settings(max_examples=40, deadline=None)
def test_the_order_and_the_parts_of_a_tick_do_not_matter(canary, stable, random):
    """Shuffled, and counted by three processes whose counts are added: the same decision."""
    policy = replace(POLICY, shadow=False)

    def decided(canary_counts, stable_counts):
        observation = Observation(1, 101.0, {Arm.STABLE: stable_counts, Arm.CANARY: canary_counts})
        return decide(start(policy, TWO_ARMS), observation, policy)

    def scattered(all_requests):
        shuffled = random.sample(all_requests, len(all_requests))
        return reduce(add, (counts_of(shuffled[i::3]) for i in range(3)))

    assert decided(counts_of(canary), counts_of(stable)) == decided(scattered(canary), scattered(stable))


@given(
    st.lists(st.tuples(st.integers(5, 15), st.integers(20, 60), st.integers(0, 3)), min_size=1, max_size=6), st.data()
)
@settings(max_examples=80, deadline=None)
def test_more_failures_never_make_the_canary_healthier(ticks, data):
    """Turning one of the canary's fast answers into a failure, in any tick, cannot lower the evidence or the bound."""
    policy = replace(
        POLICY, shadow=False, alpha=1e-9, sample_ratio_alpha=1e-9, start_weight=0.2, ramp_interval_s=86_400.0
    )
    turned = data.draw(st.integers(0, len(ticks) - 1))

    def end(extra):
        observations = []
        for tick, (n_canary, n_stable, failed) in enumerate(ticks):
            bad = min(failed + (extra if tick == turned else 0), n_canary)
            observations.append(
                Observation(
                    tick,
                    100.0 + tick,
                    {Arm.STABLE: _plain(n_stable, 1), Arm.CANARY: _plain(n_canary, bad)},
                )
            )
        return replay(start(policy, TWO_ARMS), observations, policy)[1][-1]

    fewer, more = end(0), end(1)
    assert fewer.phase is more.phase is Phase.RAMP
    assert more.e_value >= fewer.e_value * (1 - 1e-12)
    assert more.harm_bound >= fewer.harm_bound - 1e-12
    assert more.verdict >= fewer.verdict


@given(rollouts())
@settings(max_examples=20, deadline=None)
def test_after_the_end_nothing_moves(rollout):
    policy, arms, observations = rollout
    ended, _ = decide(start(policy, arms), Observation(0, 100.0, {}, Command.ROLL_BACK), policy)
    later = [replace(o, tick=o.tick + 1) for o in observations]
    state, decisions = replay(ended, later, policy)
    assert state == ended
    assert {(d.action, d.weights) for d in decisions} == {(Action.HOLD, _final(arms))}


def _final(arms):
    baseline = POLICY.baseline_share if arms is ALL_ARMS else 0.0
    return Weights(baseline=baseline, stable=1 - baseline)


def _plain(n, failed):
    scores = [0] * SCORE_BINS
    scores[30] = n  # held fixed, so that only the failures differ
    return Counts(n, failed, (0, 0, n - failed, *[0] * (LATENCY_BINS - 3)), tuple(scores))
