"""One rule at a time: commands, missing data, and what the sentences say."""

from dataclasses import replace

import pytest

from core_market import ALL_ARMS, GOOD, GRID, LIVE_ONLY, SLO, Market, Version, always
from perch.core import Cause, Policy, Slo, begin, decide
from perch.core.events import tally
from perch.core.types import Action, Arm, Command, Counts, Observation, Phase, Verdict, Weights
from perch.core.weighing import LIVE_MASS, put_to_work
from perch.errors import RolloutError

BAD = Version(error_rate=0.05)


def market(seconds, **settings):
    started = Market(**{"policy": LIVE_ONLY, **settings})
    started.run(seconds)
    return started


def follow(started, command=None, arms=None, seconds=1.0):
    """One more tick with these counts."""
    observation = Observation(started.state.tick + 1, started.state.now_s + seconds, arms or {}, command)
    return decide(started.state, observation, started.policy)


def nothing():
    return {Arm.STABLE: Counts.none(GRID), Arm.CANARY: Counts.none(GRID)}


def test_a_rollout_begins_in_shadow_with_everything_mirrored():
    started = market(0, policy=Policy(), arms=ALL_ARMS)
    assert started.state.phase is Phase.SHADOW
    assert started.state.weights == Weights(baseline=0.01, stable=0.99, canary=0.0, mirror=1.0)


def test_without_shadow_it_begins_at_the_first_weight_and_without_baseline_that_has_no_share():
    state = begin(LIVE_ONLY, SLO, market(0).reference, {Arm.STABLE, Arm.CANARY}, 0.0)
    assert (state.phase, state.weights) == (Phase.RAMP, Weights(0.0, 0.99, 0.01, 0.0))


@pytest.mark.parametrize("never_ramping", [{"freeze_e_value": 0.9}, {"harm_budget": 0.0}])
def test_a_policy_that_could_never_ramp_is_refused(never_ramping):
    with pytest.raises(ValueError, match="must lie between"):
        Policy(**never_ramping)


def test_a_policy_that_starts_above_its_largest_weight_is_refused():
    with pytest.raises(ValueError, match=r"start_weight \(0.2\) is above max_weight \(0.1\)"):
        Policy(start_weight=0.2, max_weight=0.1)


def test_an_slo_whose_breach_nobody_would_see_is_refused():
    with pytest.raises(ValueError, match="no breach of the SLO would ever be seen"):
        Slo(latency_p99_ms=100.0, negligible_latency_ms=150.0)


def test_a_person_rolls_back_and_the_version_is_not_quarantined():
    state, decision = follow(market(10), Command.ROLL_BACK)
    assert (decision.action, decision.phase, decision.weights) == (Action.ROLL_BACK, Phase.DONE, Weights())
    assert state.cause is Cause.PERSON
    assert not state.cause.quarantines
    assert decision.sentence.startswith("Rolled back: a person asked for it")


@pytest.mark.parametrize("policy", [Policy(), LIVE_ONLY])
def test_a_person_promotes_without_proof(policy):
    state, decision = follow(market(10, policy=policy, arms=ALL_ARMS), Command.PROMOTE)
    assert (decision.action, state.phase, state.promoted_by) == (Action.PROMOTE, Phase.GUARD, Cause.PERSON)
    assert decision.weights.canary == pytest.approx(0.97)
    assert (decision.weights.stable, decision.weights.baseline) == (0.02, 0.01)
    assert "a person asked" in decision.sentence


def test_a_version_that_is_promoted_already_is_not_promoted_again():
    started = market(300, policy=replace(LIVE_ONLY, bake_s=30.0))
    assert started.state.phase is Phase.GUARD
    state, decision = follow(started, Command.PROMOTE)
    assert decision.action is Action.HOLD
    assert state.promoted_by is Cause.PROVEN


def test_paused_holds_the_weight_until_resumed():
    started = market(150, commands={20: Command.PAUSE, 120: Command.RESUME})
    weights = [decision.weights.canary for decision in started.decisions]
    assert weights[19] == weights[118]
    assert "paused" in started.decisions[60].sentence
    assert max(weights[119:]) > weights[118]


def test_paused_still_rolls_back():
    started = market(400, canary=always(BAD), commands={1: Command.PAUSE})
    assert (started.state.outcome, started.state.cause) == (Action.ROLL_BACK, Cause.HARM)


def test_paused_is_not_promoted():
    promoted_s = 300
    assert market(promoted_s).state.phase is Phase.GUARD
    assert market(promoted_s, commands={60: Command.PAUSE}).state.phase is Phase.RAMP


def test_a_tick_seen_before_changes_nothing():
    started = market(10)
    again = started.observations[-1]
    state, decision = decide(started.state, again, LIVE_ONLY)
    assert state == started.state
    assert (decision.action, decision.verdict) == (Action.HOLD, Verdict.NO_DATA)
    assert "ignored" in decision.sentence


def test_after_the_end_the_final_weights_stay():
    started = market(300, canary=always(BAD))
    state, decision = follow(started, Command.PROMOTE)
    assert state == started.state
    assert (decision.action, decision.weights) == (Action.HOLD, Weights())


@pytest.mark.parametrize(
    ("arms", "why"),
    [
        (nothing(), "no requests anywhere"),
        ({**nothing(), Arm.CANARY: None}, "the counts of the canary did not arrive"),
        ({Arm.CANARY: Counts.none(GRID)}, "the counts of the champion did not arrive"),
        ({}, "the counts of the canary and the champion did not arrive"),
    ],
)
def test_causes_of_no_data_are_told_apart_and_move_nothing(arms, why):
    started = market(30)
    state, decision = follow(started, arms=arms)
    assert (decision.verdict, decision.action) == (Verdict.NO_DATA, Action.HOLD)
    assert why in decision.sentence
    assert (state.comparisons, state.weights) == (started.state.comparisons, started.state.weights)
    assert decision.e_value == pytest.approx(started.decisions[-1].e_value)


def test_after_the_timeout_without_data_the_weight_is_given_back():
    started = market(30)
    assert started.state.data_s >= started.state.now_s - 1
    state, decision = started.state, None
    for tick in range(1, 61):
        assert decision is None or decision.action is Action.HOLD
        state, decision = decide(state, Observation(30 + tick, 1_030.0 + 30 * tick, nothing()), LIVE_ONLY)
    assert (decision.action, state.cause, decision.verdict) == (Action.ROLL_BACK, Cause.INCONCLUSIVE, Verdict.NO_DATA)
    assert "inconclusive" in decision.sentence
    assert not state.cause.quarantines


@pytest.mark.parametrize("arms", [nothing(), {}])
def test_a_platform_that_was_off_does_not_end_a_rollout_for_want_of_data(arms):
    state, decision = follow(market(30), arms=arms, seconds=3_600.0)
    assert decision.action is Action.HOLD
    assert state.cause is None


@pytest.mark.parametrize("phase", [Phase.SHADOW, Phase.RAMP, Phase.GUARD])
def test_an_hour_in_which_the_platform_was_off_counts_for_thirty_seconds(phase):
    started = Market(policy=replace(Policy(), shadow=phase is Phase.SHADOW, bake_s=60.0))
    started.run(300, until=lambda state: state.phase is phase and 5 <= state.watched_s < 20)
    started.rps = 1_000.0
    arms = started.serve(started.state.weights, phase, 1.0)
    state, _ = follow(started, arms=arms, seconds=3_600.0)
    assert state.phase is phase
    assert state.watched_s == started.state.watched_s + 30
    assert state.seen_s == started.state.seen_s + 3_600


def test_counts_of_an_arm_wait_for_the_other_arms_source():
    """A source that is down for a while loses nothing: the next difference of its counters covers the gap."""
    started = market(30)
    busy = GOOD.serve(99, started.rng)
    waiting, _ = follow(started, arms={Arm.STABLE: busy, Arm.CANARY: None})
    assert waiting.batch.arms[Arm.STABLE] == tally(busy, started.reference)
    assert waiting.comparisons == started.state.comparisons
    back = {Arm.STABLE: busy, Arm.CANARY: GOOD.serve(2, started.rng)}
    moved, _ = decide(waiting, Observation(waiting.tick + 1, waiting.now_s + 1, back), LIVE_ONLY)
    assert moved.batch.arms == {}
    assert moved.comparisons != started.state.comparisons


def test_a_clock_that_runs_back_stands_still():
    started = market(30)
    state, _ = follow(started, arms=nothing(), seconds=-500.0)
    assert state.now_s == started.state.now_s


def test_counts_on_another_grid_are_refused():
    with pytest.raises(RolloutError, match="counts of an arm are not on the rollout's grid"):
        follow(market(3), arms={**nothing(), Arm.CANARY: Counts(1, 0, (1,), (1,))})


def test_the_sentence_of_a_rollback_has_the_numbers():
    sentence = market(400, canary=always(BAD)).sentence
    assert sentence.startswith("Rolled back: the canary failed ")
    assert " while the champion did so in " in sentence
    assert sentence.endswith("needed 100.")


def test_the_sentence_names_the_latency_or_the_scores_that_decided():
    slow = market(400, canary=always(Version(median_ms=60.0)), policy=Policy())
    assert "the canary was slower than " in slow.sentence
    assert " ms in " in slow.sentence
    assert "mirrored requests, which no user saw" in slow.sentence
    constant = market(400, canary=always(Version(score_mean=-3.0, score_sd=1e-9)), policy=Policy())
    assert "the canary gave scores between " in constant.sentence
    assert "%" in constant.sentence


def test_the_sentence_says_so_when_the_canary_is_better():
    better = market(60, stable=always(Version(error_rate=0.4)), policy=replace(LIVE_ONLY, start_weight=0.5))
    assert "fewer of the canary's responses are bad than of the champion's" in better.sentence
    assert better.decisions[-1].harm_bound < 0


def test_the_mass_for_harm_that_begins_later_never_runs_out():
    """After k bets 12 / (120 + k) of it is left."""
    state = market(0).state
    for k in range(1, 1_000):
        state = put_to_work(state, LIVE_ONLY)
        assert 1 - state.spent == pytest.approx(12 / (120 + k))


def test_what_waits_for_live_traffic_is_not_spent_in_shadow():
    mirrored = market(0, policy=Policy(), arms=ALL_ARMS)
    for _ in range(1_000):
        mirrored.state = put_to_work(mirrored.state, Policy())
    assert 1 - mirrored.state.spent > LIVE_MASS


def test_a_canary_that_gets_traffic_of_the_champions_is_misrouted():
    def swap(observation):
        arms = dict(observation.arms)
        arms[Arm.CANARY], arms[Arm.STABLE] = arms[Arm.STABLE], arms[Arm.CANARY]
        return replace(observation, arms=arms)

    started = market(12, edit=swap)
    fallen = market(60, edit=swap, arms=ALL_ARMS)
    assert started.state.outcome is None
    assert "the champion does not answer its share" in started.sentence
    assert (fallen.state.outcome, fallen.state.cause) == (Action.FALL_BACK, Cause.MISROUTED)
    assert fallen.state.weights == Weights(baseline=1.0, stable=0.0)


DOWN = "the canary is silent, for it is down; that may be the machine's fault, so no quarantine: the canary finished 0 "


@pytest.mark.parametrize("shadow", [False, True])
@pytest.mark.parametrize("back_s", [1e9, 0.0])
def test_a_canary_that_falls_silent_because_it_is_down_goes_home_as_fast_and_is_not_blamed(shadow, back_s):
    """Also where it is back in the very tick that convicts."""
    policy = replace(Policy(), shadow=shadow, start_weight=0.1)
    hung = Market(policy=policy, canary=always(Version(silent=True)))
    hung.run(60)
    last = hung.tick + back_s
    down = Market(
        policy=policy,
        canary=always(Version(silent=True)),
        edit=lambda seen: replace(seen, canary_is_down=seen.tick < last),
    )
    down.run(60)
    assert (hung.state.cause, down.state.cause) == (Cause.SILENT, Cause.DOWN)
    assert down.tick == hung.tick
    assert down.sentence.startswith(f"Rolled back: {DOWN}")
    assert down.decisions[-1].verdict is Verdict.ERROR


def test_a_canary_that_is_silent_long_after_it_was_down_is_blamed():
    market = Market(
        policy=replace(Policy(), shadow=False, start_weight=0.1),
        canary=lambda phase, elapsed_s: Version(silent=elapsed_s > 60),
        edit=lambda seen: replace(seen, canary_is_down=seen.tick == 2),
    )
    assert market.run(120).cause is Cause.SILENT


def test_only_harm_and_silence_quarantine():
    assert {cause for cause in Cause if cause.quarantines} == {Cause.HARM, Cause.SILENT}
