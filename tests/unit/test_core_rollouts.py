"""Whole rollouts against simulated traffic: what it costs, how long it takes, how it ends."""

from collections.abc import Callable
from dataclasses import replace
from statistics import mean, median

import pytest

from core_market import ALL_ARMS, DEMO, GOOD, LIVE_ONLY, TWO_ARMS, Market, Version, always, markets
from perch.core import Cause, Policy
from perch.core.types import Action, Arm, Phase

FAILING = Version(error_rate=0.05)
SLOWISH = Version(median_ms=24.3)
GUARDED = replace(LIVE_ONLY, bake_s=60.0, guard_s=300.0)


def in_guard(state):
    return state.phase in (Phase.GUARD, Phase.DONE)


def changed_after_promotion(
    arms_changed: frozenset[Arm], to: Version, *, from_s: float = 20.0, until_s: float = 1e9, **settings
) -> Market:
    """A market in which versions change `from_s` after promotion, until `until_s` after it."""
    market: list[Market] = []

    def behaviour(arm: Arm) -> Callable:
        def version(phase, elapsed_s):
            promoted = bool(market) and market[0].promoted_s is not None
            since_s = market[0].state.now_s - market[0].promoted_s if promoted else -1.0
            return to if arm in arms_changed and from_s <= since_s < until_s else GOOD

        return version

    behaviours = {arm.value: behaviour(arm) for arm in ALL_ARMS}
    market.append(Market(**{"policy": GUARDED, "arms": ALL_ARMS, **behaviours, **settings}))
    return market[0]


def seconds_after_fault(market):
    return market.state.now_s - market.promoted_s - 20.0


def alarms(market):
    return sum("alarm rang" in decision.sentence for decision in market.decisions)


def test_an_identical_canary_is_never_rolled_back_and_promoted_soon_after_the_bake():
    for market in markets(40):
        state = market.run(700, until=in_guard)
        assert state.phase is Phase.GUARD
        assert 0 <= market.seconds - market.policy.shadow_s - market.policy.bake_s <= 40


@pytest.mark.parametrize(("rps", "runs"), [(1.0, 40), (10.0, 40), (400.0, 15)])
def test_an_identical_canary_is_not_rolled_back_at_any_rate(rps, runs):
    for market in markets(runs, rps=rps, policy=LIVE_ONLY):
        assert market.run(400).outcome is None


def test_a_noisy_day_is_no_harm():
    """Errors of 2 % and bursts of doubled latency, in both arms alike."""

    def burst(phase, elapsed_s):
        return Version(error_rate=0.02, median_ms=60.0 if elapsed_s % 60 < 20 else 30.0)

    for market in markets(25, canary=burst, stable=burst, policy=LIVE_ONLY):
        assert market.run(400).outcome is None


@pytest.mark.parametrize("policy", [Policy(), LIVE_ONLY])
def test_a_process_that_pauses_once_is_no_harm(policy):
    """For 300 ms, eight seconds into each phase."""

    def pausing(phase, elapsed_s):
        return Version(median_ms=40.0, sigma=1.2) if elapsed_s == 8.0 else GOOD

    for market in markets(5, policy=replace(policy, bake_s=60.0), canary=pausing):
        state = market.run(700, until=in_guard)
        assert (state.outcome, state.phase) == (None, Phase.GUARD)


@pytest.mark.parametrize("rps", [10.0, 100.0, 1_000.0])
def test_five_percent_errors_cost_four_bad_responses_at_any_rate(rps):
    rollouts = list(markets(40, policy=LIVE_ONLY, canary=always(FAILING), rps=rps))
    for market in rollouts:
        assert market.run(3_600).cause is Cause.HARM
    assert mean(market.bad for market in rollouts) <= 4
    assert max(market.bad for market in rollouts) <= 10


@pytest.mark.parametrize("rps", [50.0, 150.0])
def test_five_percent_errors_cost_ten_at_most_with_the_delay_of_a_live_loop(rps):
    for policy in (LIVE_ONLY, replace(DEMO, shadow=False)):
        for market in markets(15, policy=policy, canary=always(FAILING), rps=rps, delay=2):
            assert market.run(900).cause is Cause.HARM
            assert market.bad <= 10


@pytest.mark.parametrize(
    ("policy", "rps"), [(replace(LIVE_ONLY, bake_s=90.0), 100.0), (replace(DEMO, shadow=False, margin=0.01), 150.0)]
)
def test_a_canary_that_always_fails_twice_as_often_is_not_promoted_after_a_bad_start_of_both(policy, rps):
    """Early, when nearly all requests are the champion's, it fails 30 %: in the totals the canary looks better."""

    def fails(times):
        def version(phase, elapsed_s):
            started_s = market[0].state.started_s if market else 0.0
            early = bool(market) and market[0].state.now_s < started_s + 20
            return Version(error_rate=times * (0.3 if early else 0.01))

        return version

    for seed in range(6):
        market: list[Market] = []
        market.append(Market(policy=policy, stable=fails(1.0), canary=fails(2.2), rps=rps, seed=seed))
        assert market[0].run(400, until=in_guard).phase is not Phase.GUARD


def test_in_shadow_nobody_is_hurt():
    rollouts = list(markets(20, canary=always(FAILING)))
    for market in rollouts:
        assert market.run(60).cause is Cause.HARM
        assert market.bad == 0
    assert median(market.seconds for market in rollouts) <= 6


def test_constant_scores_are_found_in_seconds():
    for market in markets(10, canary=always(Version(score_mean=-3.0, score_sd=1e-9))):
        assert market.run(60).cause is Cause.HARM
        assert market.seconds <= 10


@pytest.mark.parametrize("before", [0, 150, 500, 20_000])
@pytest.mark.parametrize("sd", [0.6, 0.9, 1.5])
def test_a_canary_that_scores_as_evaluated_is_no_harm_however_little_the_champion_answered_before(before, sd):
    champion, other = Version(error_rate=0.0), Version(error_rate=0.0, score_sd=sd)
    for market in markets(
        3, stable=always(champion), canary=always(other), evaluated=(champion, other), before=before, rps=150.0
    ):
        market.run(90)
        assert market.state.outcome is None, market.sentence


def test_constant_scores_are_found_when_the_champion_has_answered_nothing_yet():
    for market in markets(3, canary=always(Version(score_mean=-3.0, score_sd=1e-9)), before=0):
        assert market.run(60).cause is Cause.HARM


def test_doubled_latency_is_found_in_shadow():
    for market in markets(10, canary=always(Version(median_ms=30.0))):
        assert market.run(60).cause is Cause.HARM
        assert market.seconds <= 30


@pytest.mark.parametrize("policy", [Policy(), LIVE_ONLY])
def test_a_silent_canary_is_aborted_and_quarantined(policy):
    for market in markets(5, policy=policy, canary=always(Version(silent=True))):
        state = market.run(60)
        assert (state.outcome, state.cause) == (Action.ROLL_BACK, Cause.SILENT)
        assert state.sample_ratio.expected < 15 or policy.shadow
        assert "silent" in market.sentence


def test_the_demo_promotes_a_good_canary_within_two_minutes():
    for market in markets(10, policy=DEMO, rps=150.0, delay=1, arms=ALL_ARMS):
        state = market.run(200)
        assert (state.phase, state.outcome) == (Phase.DONE, Action.PROMOTE)
        assert market.seconds <= 120
        assert state.weights.canary == pytest.approx(0.99)


@pytest.mark.parametrize("arms", [ALL_ARMS, TWO_ARMS])
def test_after_promotion_a_step_to_five_percent_is_taken_off_in_seconds_and_rolled_back(arms):
    spans = []
    for seed in range(10):
        market = changed_after_promotion(frozenset({Arm.CANARY}), FAILING, arms=arms, seed=seed)
        soft = market.run(600, until=lambda state: state.phase is Phase.CONFIRM)
        assert seconds_after_fault(market) <= 10
        assert soft.weights.canary == pytest.approx(1 - GUARDED.confirm_share)
        state = market.run(100)
        assert (state.outcome, state.cause) == (Action.ROLL_BACK, Cause.HARM)
        spans.append(seconds_after_fault(market))
    assert median(spans) <= 25


def test_when_the_older_version_is_bad_too_the_baseline_takes_over():
    for seed in range(8):
        both = frozenset({Arm.CANARY, Arm.STABLE})
        market = changed_after_promotion(both, Version(error_rate=0.2), seed=seed)
        state = market.run(600)
        assert (state.outcome, state.cause) == (Action.FALL_BACK, Cause.HARM)
        assert (state.weights.baseline, state.weights.stable, state.weights.canary) == (1.0, 0.0, 0.0)
        assert seconds_after_fault(market) <= 10


@pytest.mark.parametrize("arms", [ALL_ARMS, TWO_ARMS])
def test_a_common_incident_is_nobodys_fault(arms):
    for seed in range(6):
        market = changed_after_promotion(ALL_ARMS, Version(error_rate=0.201), until_s=140.0, arms=arms, seed=seed)
        state = market.run(700)
        assert (state.outcome, alarms(market)) == (Action.PROMOTE, 1)
        assert any("common incident" in decision.sentence for decision in market.decisions)


def test_a_short_burst_of_the_promoted_version_is_forgiven_once():
    """Unless so much of it falls into the confirmation that it convicts."""
    ends = []
    for seed in range(10):
        market = changed_after_promotion(frozenset({Arm.CANARY}), FAILING, until_s=27.0, seed=seed)
        ends.append(market.run(700).outcome)
        assert alarms(market) <= 1
    assert ends.count(Action.PROMOTE) >= 8


def test_the_guard_is_not_over_after_a_time_without_requests():
    market = Market(policy=replace(GUARDED, guard_s=1_200.0), arms=ALL_ARMS)
    market.run(400, until=in_guard)
    market.rps = 0.0
    assert market.run(1_500).phase is Phase.GUARD
    market.rps = 100.0
    assert market.run(1_300).outcome is Action.PROMOTE


def test_a_promoted_version_that_falls_silent_is_rolled_back():
    for seed in range(5):
        market = changed_after_promotion(frozenset({Arm.CANARY}), Version(silent=True), seed=seed)
        assert market.run(600).cause is Cause.SILENT
        assert seconds_after_fault(market) <= 15


def test_a_promoted_version_does_not_suffer_for_a_champion_that_falls_silent():
    for seed in range(3):
        market = changed_after_promotion(frozenset({Arm.STABLE}), Version(silent=True), seed=seed)
        assert market.run(600).outcome is Action.PROMOTE
        told = [d for d in market.decisions if "the champion does not answer its share" in d.sentence]
        assert len(told) > 200


@pytest.mark.parametrize("share", [0.05, 0.25])
def test_a_large_share_of_the_baseline_makes_no_shadow_misrouted(share):
    """Every request is mirrored, the baseline's, too."""
    for market in markets(5, policy=replace(Policy(), baseline_share=share), arms=ALL_ARMS):
        market.run(80)
        assert market.state.phase is Phase.RAMP


@pytest.mark.parametrize("share", [0.5, 0.8, 1.0])
def test_a_process_that_answers_one_second_late_is_not_misrouted(share):
    def pausing(observation):
        arms = observation.arms
        if observation.tick == 60:
            kept = GOOD.serve(int(arms[Arm.CANARY].requests * (1 - share)), market.rng)
            late.append(arms[Arm.CANARY].requests - kept.requests)
            return replace(observation, arms={**arms, Arm.CANARY: kept})
        if observation.tick == 61:
            return replace(observation, arms={**arms, Arm.CANARY: arms[Arm.CANARY] + GOOD.serve(late[0], market.rng)})
        return observation

    for seed in range(10):
        late: list[int] = []
        market = Market(policy=replace(LIVE_ONLY, bake_s=90.0), seed=seed, rps=150.0, edit=pausing)
        market.run(80)
        assert market.state.outcome is None, market.sentence


def test_a_champion_within_its_slo_is_not_blamed_for_a_faster_baseline():
    """0.9 % of its answers are slow, 1 % may be, the baseline has none; then the canary fails."""
    for seed in range(8):
        market: list[Market] = []

        def canary(phase, elapsed_s, market=market):
            since_s = market[0].state.now_s - market[0].promoted_s if market and market[0].promoted_s else 0.0
            return replace(SLOWISH, error_rate=0.05) if since_s > 20 else SLOWISH

        fast = always(replace(SLOWISH, sigma=0.4))
        market.append(
            Market(policy=GUARDED, arms=ALL_ARMS, stable=always(SLOWISH), canary=canary, baseline=fast, seed=seed)
        )
        state = market[0].run(900)
        assert (state.outcome, state.cause) == (Action.ROLL_BACK, Cause.HARM), market[0].sentence


def test_confirming_ends_even_when_nothing_can_be_learnt():
    market = changed_after_promotion(frozenset({Arm.CANARY}), FAILING, seed=1)
    market.run(600, until=lambda state: state.phase is Phase.CONFIRM)
    market.rps = 0.0
    state = market.run(400)
    assert (state.outcome, state.cause) == (Action.ROLL_BACK, Cause.INCONCLUSIVE)


def test_a_bad_champion_falls_back_when_the_canary_is_bad_as_well():
    bad = always(Version(error_rate=0.2))
    for market in markets(4, policy=LIVE_ONLY, arms=ALL_ARMS, canary=bad, stable=bad):
        state = market.run(600)
        assert state.outcome is Action.FALL_BACK
        assert state.cause in (Cause.HARM, Cause.INCONCLUSIVE)
        assert "the champion failed" in market.sentence


def test_a_bad_champion_does_not_stop_a_canary_that_is_cleared():
    market = Market(policy=GUARDED, arms=ALL_ARMS, stable=always(Version(error_rate=0.2)), rps=400.0)
    assert market.run(2_000, until=in_guard).phase in (Phase.GUARD, Phase.DONE)
