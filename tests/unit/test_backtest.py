"""A recorded rollout, decided again under its own policy and under others."""

from dataclasses import replace

import pytest

from core_market import Version
from perch.core.policy import Labels
from perch.core.types import Action, Cohort, Judgement, Outcomes, Phase
from perch.errors import RolloutError
from perch.rollout import running as running_module
from perch.rollout.backtest import backtest, promotion, untried
from perch.rollout.ledger import read
from recorded import recorded
from service_world import FAST


@pytest.fixture(scope="module", autouse=True)
def _no_drain():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running_module, "_DRAIN_S", 0.0)
        yield


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return read(recorded(tmp_path_factory.mktemp("good"), Version()))


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    return read(recorded(tmp_path_factory.mktemp("bad"), Version(error_rate=0.02), replace(FAST, shadow=False)))


def test_under_its_own_policy_every_decision_is_the_same_bit_for_bit(good, bad):
    for record in (good, bad):
        result = backtest(record, record.attempt.policy)
        assert result.exact
        assert result.same == len(record.ticks) == len(result.recorded)
        assert (result.departure, result.guessed_from) == (None, None)


def test_a_record_that_was_changed_is_not_exact(good):
    ticks = list(good.ticks)
    ticks[3] = replace(ticks[3], decision=replace(ticks[3].decision, e_value=7.0))
    result = backtest(replace(good, ticks=tuple(ticks)), FAST)
    assert not result.exact
    assert result.departure is None  # the same was done all the same


def test_a_policy_that_tells_the_same_deeds_otherwise_does_not_depart(good):
    result = backtest(good, replace(FAST, alpha=0.011))
    assert not result.exact
    assert result.departure is None
    assert result.same == len(good.ticks)


def test_a_longer_shadow_departs_where_the_record_went_live_and_all_after_is_a_guess(good):
    result = backtest(good, replace(FAST, shadow_s=8.0))
    was, now = result.departure
    live = next(tick for tick in good.ticks if tick.decision.phase is Phase.RAMP)
    assert was.tick == now.tick == live.observation.tick
    assert (was.decision.phase, now.decision.phase) == (Phase.RAMP, Phase.SHADOW)
    assert result.guessed_from == was.tick + 1
    goes_live = next(step for step in result.replayed if step.decision.phase is Phase.RAMP)
    assert goes_live.elapsed_s > was.elapsed_s


def test_a_policy_without_a_shadow_is_a_guess_from_the_first_tick(good):
    result = backtest(good, replace(FAST, shadow=False))
    assert result.guessed_from == good.ticks[0].observation.tick
    assert result.replayed[0].decision.phase is Phase.RAMP
    # mirrored counts stand in for live ones, and what the split would say of them is left out
    assert Action.ROLL_BACK not in {step.decision.action for step in result.replayed}
    assert promotion(result.replayed).tick < promotion(result.recorded).tick


def test_live_counts_stand_in_for_mirrored_ones(bad):
    # a rollout with a shadow stage bets less from the start, so the record alone may fall short of its own threshold
    result = backtest(bad, replace(bad.attempt.policy, shadow=True, shadow_s=1_000.0, alpha=0.1))
    assert result.replayed[-1].outcome is Action.ROLL_BACK
    assert {step.decision.phase for step in result.replayed} == {Phase.SHADOW, Phase.DONE}


def test_a_stricter_policy_ends_earlier_and_decides_no_more(bad):
    result = backtest(bad, replace(bad.attempt.policy, alpha=0.2))
    was, now = result.recorded[-1], result.replayed[-1]
    assert was.outcome is now.outcome is Action.ROLL_BACK
    assert now.elapsed_s < was.elapsed_s
    assert len(result.replayed) < len(result.recorded)
    assert result.departure[1] == now


def test_a_laxer_policy_may_not_have_ended_when_the_record_did(bad):
    result = backtest(bad, replace(bad.attempt.policy, alpha=1e-9))
    assert result.replayed[-1].tick == result.recorded[-1].tick
    assert result.replayed[-1].outcome is None
    assert result.departure[0] == result.recorded[-1]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"alpha": 0.2}, None),
        ({"labels": Labels.WATCHED}, "Labels are not tried: none were recorded."),
        ({"labels": Labels.REQUIRED}, "Labels are not tried: none were recorded."),
        ({"external_judge": True}, "(externalJudge) is not tried: no judgement was recorded."),
        ({"rollback_limit": 9}, "rollbackLimit and rollbackWindowS are not tried: they are not part of a rollout."),
        ({"rollback_window_s": 9.0}, "rollbackLimit and rollbackWindowS are not tried"),
    ],
)
def test_what_a_record_cannot_tell_of_a_policy_is_said(good, changes, says):
    told = list(untried(good, replace(FAST, **changes)))
    assert len(told) == (says is not None)
    assert says is None or says in told[0]


def test_what_was_recorded_is_tried(good):
    known = {"outcomes": Outcomes(cohorts=(Cohort(0.5, 1, 0),)), "judgements": (Judgement(0.5),)}
    last = replace(good.ticks[-1], observation=replace(good.ticks[-1].observation, **known))
    record = replace(good, ticks=(*good.ticks[:-1], last))
    assert not list(untried(record, replace(FAST, labels=Labels.WATCHED, external_judge=True)))


def test_a_record_without_a_tick_is_refused(good):
    with pytest.raises(RolloutError, match="no tick yet"):
        backtest(replace(good, ticks=()), FAST)
