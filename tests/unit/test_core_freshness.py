from dataclasses import replace
from itertools import pairwise

import pytest

from perch.core.codec import dumps, loads
from perch.core.decay import Matured
from perch.core.freshness import confirmed, decide
from perch.core.freshness_types import Alert, Ended, Signals, State
from perch.core.policy import FreshnessPolicy
from perch.core.staleness import due_s, tokens

HOUR_S = 3_600.0
NOW_S = 1_800_000_000.0
POLICY = FreshnessPolicy(automatic=True)
QUIET = Signals(version=3, trained_s=NOW_S, impressions=1_000)


def looks(state, hours, policy=POLICY, signals=QUIET, start_s=NOW_S):
    """One look an hour; the decisions, and the state after them. What is decided is started at once."""
    decisions = []
    for hour in range(1, hours + 1):
        state, decision = decide(state, signals, policy, start_s + hour * HOUR_S)
        state = confirmed(state)
        decisions.append(decision)
    return state, decisions


def opened():
    return decide(State(), replace(QUIET, impressions=0), POLICY, NOW_S)[0]


def first_start(decisions):
    return next((hour for hour, decision in enumerate(decisions, 1) if decision.start), None)


def test_a_run_starts_when_staleness_has_cost_what_a_run_costs():
    _, decisions = looks(opened(), 60)
    # 0.01 clicks a thousand and hour, at a thousand an hour: 0.01 T^2 / 2 = 10 clicks after 44.7 hours
    assert first_start(decisions) == 45
    assert "has cost" in decisions[44].sentence
    assert "a run costs 10" in decisions[44].sentence


def test_a_busier_service_is_trained_more_often():
    _, decisions = looks(opened(), 60, signals=replace(QUIET, impressions=16_000))
    assert first_start(decisions) == 12


def test_what_was_measured_counts_more_than_what_is_declared():
    _, decisions = looks(opened(), 60, signals=replace(QUIET, loss_per_hour=0.16))
    assert first_start(decisions) == 12


def test_it_is_told_when_a_run_is_due_and_that_is_when_it_comes():
    state, decisions = looks(opened(), 20)
    told_h = (decisions[-1].due_s - NOW_S) / HOUR_S
    assert told_h == pytest.approx(44.7, abs=1.0)
    assert due_s(state, POLICY, NOW_S + 20 * HOUR_S) == decisions[-1].due_s
    assert "due in 24" in decisions[-1].sentence


def test_without_traffic_only_the_limit_counts():
    _, decisions = looks(opened(), 200, signals=replace(QUIET, impressions=0))
    assert first_start(decisions) == 168
    assert "the limit is 7.0 days" in decisions[167].sentence


def test_nothing_is_started_by_itself_unless_it_is_declared():
    state, decisions = looks(opened(), 60, FreshnessPolicy())
    assert first_start(decisions) is None
    assert "perch retrain" in decisions[-1].sentence
    _, decision = decide(state, replace(QUIET, wish=True), FreshnessPolicy(), NOW_S + 61 * HOUR_S)
    assert decision.start


def test_a_storm_of_alerts_starts_one_run():
    storm = tuple(Alert(f"a{i}", f"alert {i}") for i in range(1_000))
    signals = replace(QUIET, alerts=storm)
    state, decision = decide(opened(), signals, POLICY, NOW_S + 60)
    assert decision.start
    assert "99 more" in decision.sentence
    state, decisions = looks(confirmed(state), 24, signals=replace(signals, alerts=storm[:100]))
    assert first_start(decisions) is None
    assert len(state.answered) <= 100


def test_a_storm_that_goes_on_while_its_run_is_in_progress_is_one_storm():
    state, first = decide(opened(), replace(QUIET, alerts=(Alert("a0", "alert 0"),)), POLICY, NOW_S)
    assert first.start
    later = tuple(Alert(f"a{i}", f"alert {i}") for i in range(1, 30))
    running = replace(QUIET, in_progress="ads-retrain-1", alerts=later)
    state, _ = decide(confirmed(state), running, POLICY, NOW_S + 60)
    ended = replace(QUIET, ended=Ended("ads-retrain-1", succeeded=True, began_s=NOW_S, ended_s=NOW_S + 600, message=""))
    state, _ = decide(state, ended, POLICY, NOW_S + 660)
    _, decisions = looks(state, 5)
    assert first_start(decisions) is None


def test_an_alert_that_ends_in_the_cool_down_starts_none():
    state, _ = decide(opened(), replace(QUIET, wish=True), POLICY, NOW_S)
    state, waiting = decide(confirmed(state), replace(QUIET, alerts=(Alert("a", "x"),)), POLICY, NOW_S + 60)
    assert not waiting.start
    assert waiting.sentence == "An alert fires: x. The last run was started 60 s ago: cool-down for 119.0 min more."
    state, _ = decide(state, replace(QUIET, alerts=(Alert("a", "x", firing=False),)), POLICY, NOW_S + 120)
    _, decisions = looks(state, 5)
    assert first_start(decisions) is None


def test_an_alert_that_goes_on_waits_for_the_end_of_the_cool_down():
    state, _ = decide(opened(), replace(QUIET, wish=True), POLICY, NOW_S)
    state, _ = decide(confirmed(state), replace(QUIET, alerts=(Alert("a", "x"),)), POLICY, NOW_S + 60)
    _, decisions = looks(state, 5)
    assert first_start(decisions) == 2


def test_a_person_waits_for_the_cool_down_unless_she_insists():
    state, first = decide(opened(), replace(QUIET, wish=True), POLICY, NOW_S)
    again = replace(QUIET, wish=True)
    _, refused = decide(confirmed(state), again, POLICY, NOW_S + 60)
    _, insisted = decide(confirmed(state), replace(again, override=True), POLICY, NOW_S + 60)
    assert (first.start, refused.start, insisted.start) == (True, False, True)
    assert insisted.run == first.run + 1


def test_nobody_may_insist_beyond_the_budget():
    state, insisting = opened(), replace(QUIET, wish=True, override=True)
    started = 0
    for minute in range(30):
        state, decision = decide(confirmed(state), insisting, POLICY, NOW_S + 60 * minute)
        started += decision.start
    assert started == POLICY.runs_per_day
    assert "budget of 4 runs a day is used up" in decision.sentence


def test_runs_that_fail_make_the_cool_down_longer_up_to_a_day():
    alarming = replace(QUIET, impressions=10**7)
    policy = FreshnessPolicy(automatic=True, runs_per_day=100)
    state, starts = opened(), []
    ended = None
    for hour in range(1, 100):
        now_s = NOW_S + hour * HOUR_S
        state, decision = decide(confirmed(state), replace(alarming, ended=ended), policy, now_s)
        if decision.start:
            starts.append(hour)
            ended = Ended(f"run-{decision.run}", succeeded=False, began_s=now_s, ended_s=now_s + 60)
    assert [b - a for a, b in pairwise(starts)] == [4, 8, 16, 24, 24]


def test_a_run_that_succeeded_makes_the_champion_fresh_though_it_stays():
    state, _ = looks(opened(), 44)
    began_s = NOW_S + 44 * HOUR_S
    ended = Ended("cron-1", succeeded=True, began_s=began_s, ended_s=began_s + 600)
    _, decisions = looks(state, 44, signals=replace(QUIET, ended=ended), start_s=began_s)
    assert first_start(decisions) is None


def test_a_version_that_was_trained_before_is_fresh_when_a_run_that_succeeded_released_it():
    state, _ = looks(opened(), 44)
    began_s = NOW_S + 44 * HOUR_S
    ended = Ended("ads-retrain-1", succeeded=True, began_s=began_s, ended_s=began_s + 600)
    state, _ = decide(state, replace(QUIET, version=4, ended=ended), POLICY, began_s + 700)
    assert state.fresh_s == began_s
    by_a_person = replace(QUIET, version=3, ended=ended)
    assert decide(state, by_a_person, POLICY, began_s + 800)[0].fresh_s == NOW_S


def test_while_a_run_or_rollout_is_in_progress_no_second_one_starts():
    state, _ = looks(opened(), 44)
    busy = replace(QUIET, wish=True, override=True, in_progress="Rollout v4-1")
    _, decision = decide(state, busy, POLICY, NOW_S + 50 * HOUR_S)
    assert not decision.start
    assert decision.sentence == "Rollout v4-1 is in progress; a run waits for its end."


def test_a_start_that_was_not_confirmed_is_repeated_under_its_number():
    state, first = decide(opened(), replace(QUIET, wish=True), POLICY, NOW_S + 60)
    state, again = decide(state, QUIET, POLICY, NOW_S + 120)
    assert (again.start, again.run, again.sentence) == (True, first.run, first.sentence)
    assert tokens(state, POLICY, NOW_S + 120) == pytest.approx(3, abs=0.02)
    assert not decide(confirmed(state), QUIET, POLICY, NOW_S + 180)[1].start


def test_decay_starts_a_run_and_says_the_numbers():
    state, decision = opened(), None
    for minute in range(1_000):
        clicks = 18 if minute < 300 else 10
        signals = replace(QUIET, impressions=0, matured=Matured(1_000, clicks, 20.0))
        state, decision = decide(state, signals, POLICY, NOW_S + 60 * minute)
        if decision.start:
            break
    assert decision.start
    assert decision.sentence.startswith(
        "Version 3 decays: of late 0.50 clicks came for each that it predicted, and 0.8"
    )


def test_drift_starts_a_run_and_says_the_index():
    state = opened()
    steady, moved = (1_000, 1_000, 1_000, 0), (0, 1_000, 1_000, 1_000)
    state, calm = decide(state, replace(QUIET, scores=steady), POLICY, NOW_S + HOUR_S)
    state, alarmed = decide(state, replace(QUIET, scores=moved), POLICY, NOW_S + 2 * HOUR_S)
    assert (calm.start, alarmed.start) == (False, True)
    assert "stability index" in alarmed.sentence


def test_a_new_champion_is_compared_with_itself():
    state = decide(opened(), replace(QUIET, scores=(3_000, 0)), POLICY, NOW_S + HOUR_S)[0]
    assert state.drift.reference
    state = decide(state, replace(QUIET, version=4, trained_s=NOW_S + HOUR_S), POLICY, NOW_S + 2 * HOUR_S)[0]
    assert not state.drift.reference
    assert state.fresh_s == NOW_S + HOUR_S
    assert state.lost_clicks == pytest.approx(0.005)


def test_a_version_of_which_nobody_knows_when_it_was_trained_ages_from_when_it_was_first_seen():
    assert decide(State(), Signals(version=3), POLICY, NOW_S)[0].fresh_s == NOW_S


def test_state_and_signals_go_to_json_and_back():
    state, _ = looks(opened(), 50, signals=replace(QUIET, alerts=(Alert("a", "x"),), matured=Matured(9, 1, 0.5)))
    assert loads(State, dumps(state)) == state


@pytest.mark.parametrize(("key", "value"), [("cool_down_s", 1), ("runs_per_day", 0), ("tolerated_decay", 0.9)])
def test_a_policy_that_cannot_be_meant_is_refused(key, value):
    with pytest.raises(ValueError, match=key):
        FreshnessPolicy(**{key: value})
