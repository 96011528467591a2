"""The peers' rules, held against what their documentation and source publish."""

from functools import partial

import numpy as np
import pytest
from benchmarks.decisions.peers.argo import Argo
from benchmarks.decisions.peers.flagger import Flagger
from benchmarks.decisions.peers.kayenta import Kayenta, p99_ms, score
from benchmarks.decisions.peers.mann_whitney import is_high, shift
from benchmarks.decisions.peers.sagemaker import SageMaker
from benchmarks.decisions.peers.ztest import ZTest, exceeds
from benchmarks.decisions.rollouts import End

from perch.core.types import Arm
from perch.rehearsal.market import GRID, Served

NOTHING = Served.none(1)


def served(requests, failed=0, slow=0):
    """One arm's tick in one replication: what is neither failed nor slow took less than 80 ms."""
    latency = np.zeros((1, len(GRID.latency_ms) + 1), dtype=np.int64)
    latency[0, 0], latency[0, -1] = requests - failed - slow, slow
    return Served(np.array([failed]), latency, NOTHING.scores, NOTHING.lost)


GOOD = served(1_000)
FAILING = served(1_000, failed=50)
SLOW = served(1_000, slow=50)


def drive(rule, canary, until_s=3_600, other=GOOD):
    """Run one rollout; `canary` is what the canary does in every tick, or a function of the time."""
    peer = rule(1)
    for now_s in range(1, until_s + 1):
        arms = dict.fromkeys(Arm, other)
        arms[Arm.CANARY] = canary(now_s) if callable(canary) else canary
        peer.step(now_s, arms)
    return peer


def ending(peer):
    return End(peer.ends[0]), peer.ended_s[0]


def weights(rule, canary, until_s):
    """The canary's weight after each minute."""
    peer = rule(1)
    seen = []
    for now_s in range(1, until_s + 1):
        peer.step(now_s, {Arm.CANARY: canary, Arm.STABLE: GOOD})
        if now_s % 60 == 0:
            seen.append(round(float(peer.weight[0]), 2))
    return seen


FAST_FLAGGER = partial(Flagger, interval_s=10, threshold=2)
FAST_ARGO = partial(Argo, analysis_from_s=0, interval_s=60, max_error_rate=0.01, latency=True)


@pytest.mark.parametrize("canary", [FAILING, SLOW, NOTHING], ids=["failing", "slow", "no value"])
def test_flagger_rolls_back_one_interval_after_the_last_failed_check(canary):
    assert ending(drive(Flagger, canary)) == (End.ROLLED_BACK, (10 + 1) * 60)
    assert ending(drive(FAST_FLAGGER, canary)) == (End.ROLLED_BACK, (2 + 1) * 10)


def test_flagger_adds_a_step_for_each_pass_and_promotes_on_the_pass_after_the_maximum():
    assert weights(Flagger, GOOD, 540) == [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5]
    assert ending(drive(Flagger, GOOD)) == (End.PROMOTED, 600)


def test_flagger_holds_the_weight_on_a_failed_check():
    assert weights(Flagger, FAILING, 300) == [0.05] * 5


def test_flagger_never_forgets_a_failed_check():
    every_other_minute = drive(Flagger, lambda now_s: FAILING if (now_s - 1) // 60 % 2 == 0 else GOOD, 1_800)
    # Nine passes and ten failures are reached at once: the tenth failure is the 19th check, the rollback the 20th.
    assert ending(every_other_minute) == (End.ROLLED_BACK, 20 * 60)


def test_flagger_passes_at_its_threshold_exactly():
    at_99_percent = served(1_000, failed=10, slow=9)
    assert ending(drive(Flagger, at_99_percent)) == (End.PROMOTED, 600)


def test_argo_goes_by_the_clock_and_analyses_from_the_second_step():
    assert weights(Argo, GOOD, 1_860)[::10] == [0.2, 0.4, 0.6, 0.8]
    assert ending(drive(Argo, GOOD)) == (End.PROMOTED, 2_400)


def test_argo_aborts_on_the_failure_after_its_limit():
    failing = served(1_000, failed=60)
    assert ending(drive(Argo, failing)) == (End.ROLLED_BACK, 600 + 3 * 300)
    assert ending(drive(FAST_ARGO, failing)) == (End.ROLLED_BACK, 4 * 60)
    assert ending(drive(FAST_ARGO, SLOW)) == (End.ROLLED_BACK, 4 * 60)


def test_argo_as_documented_passes_what_fails_less_than_5_percent_and_all_that_is_slow():
    assert ending(drive(Argo, served(1_000, failed=50))) == (End.PROMOTED, 2_400)
    assert ending(drive(Argo, SLOW)) == (End.PROMOTED, 2_400)


def test_argo_does_not_add_the_failures_of_two_metrics():
    two_of_each = {60: FAILING, 120: FAILING, 180: SLOW, 240: SLOW}
    mixed = drive(FAST_ARGO, lambda now_s: two_of_each.get(-(-now_s // 60) * 60, GOOD))
    assert ending(mixed) == (End.PROMOTED, 2_400)


def test_argo_errs_on_the_fifth_empty_answer_in_a_row():
    assert ending(drive(Argo, NOTHING)) == (End.ABORTED, 600 + 4 * 300)
    assert ending(drive(FAST_ARGO, NOTHING)) == (End.ABORTED, 5 * 60)


def test_argo_takes_a_window_without_requests_for_a_failure_once_there_is_a_series():
    assert ending(drive(FAST_ARGO, lambda now_s: GOOD if now_s <= 60 else NOTHING)) == (End.ROLLED_BACK, 5 * 60)


def test_argo_promotes_also_without_a_single_measurement():
    assert ending(drive(partial(Argo, analysis_from_s=3_000), FAILING)) == (End.PROMOTED, 2_400)


@pytest.mark.parametrize("canary", [FAILING, SLOW])
def test_sagemaker_alarms_a_minute_after_the_first_bad_period(canary):
    assert ending(drive(SageMaker, canary)) == (End.ROLLED_BACK, 120)


def test_sagemaker_takes_a_missing_period_for_no_alarm():
    assert ending(drive(SageMaker, NOTHING)) == (End.PROMOTED, 600)


def test_sagemaker_does_not_see_what_happens_in_the_last_minute_of_the_bake():
    assert ending(drive(SageMaker, lambda now_s: FAILING if now_s > 540 else GOOD)) == (End.PROMOTED, 600)
    assert ending(drive(SageMaker, lambda now_s: FAILING if now_s > 500 else GOOD)) == (End.ROLLED_BACK, 600)


# Values of R's wilcox.test and of Kayenta's own suite.


def test_the_interval_of_seven_hundreds_is_the_published_one_and_passes():
    experiment, control = np.array([100.0] * 7 + [1.0] * 3), np.ones(10)
    found = shift(experiment, control)
    assert found.low == pytest.approx(6.825e-05, abs=1e-8)
    assert found.high == 99.0
    assert found.estimate == pytest.approx(98.99993, abs=1e-6)
    assert not is_high(experiment, control)


def test_the_interval_of_eight_hundreds_is_the_published_one_and_is_high():
    experiment, control = np.array([100.0] * 8 + [1.0] * 2), np.ones(10)
    assert shift(experiment, control).low == pytest.approx(98.99993, abs=2e-6)
    assert is_high(experiment, control)


@pytest.mark.parametrize(
    ("experiment", "control", "high"),
    [
        ([20.0, 22.0, 21.0, 25.0, 30.0], [1.0, 2.2, 1.1, 2.5, 3.0], True),
        ([1.0, 2.2, 1.1, 2.5, 3.0], [20.0, 22.0, 21.0, 25.0, 30.0], False),
        ([10.0, 20.0, 30.0, 40.0], [10.0, 20.0, 30.0, 40.0], False),
        ([40.0, 30.0, 20.0, 10.0], [10.0, 20.0, 30.0, 40.0], False),
        ([0.0, 0.0, 0.0], [0.0, 0.0], False),
        ([7.0, 7.0, 7.0], [3.0, 3.0], True),
    ],
    ids=["five above", "five below", "the same", "the same, in another order", "all tied", "constants apart"],
)
def test_kayenta_calls_high_what_lies_above(experiment, control, high):
    assert is_high(np.array(experiment), np.array(control)) is high


def points(canary, time=20):
    """Errors and latency of so many minutes, a little different in each."""
    return np.outer(canary, 1 + 0.01 * np.arange(time))


def test_kayenta_scores_the_share_of_groups_that_pass():
    champion = points([0.1, 300.0])
    assert score(champion, champion) == 100.0
    assert score(points([5.0, 300.0]), champion) == 50.0
    assert score(points([5.0, 450.0]), champion) == 0.0


def test_kayenta_scores_nothing_where_half_of_the_metrics_have_no_data():
    champion = points([0.1, 300.0])
    assert score(np.full((2, 20), np.nan), champion) == 0.0
    assert score(np.stack([champion[0], np.full(20, np.nan)]), champion) == 0.0


def test_kayenta_leaves_out_minutes_without_data():
    champion = points([0.1, 300.0])
    gaps = champion.copy()
    gaps[:, ::2] = np.nan
    assert score(gaps, champion) == 100.0


def test_kayenta_fails_at_the_first_judgement_or_promotes_at_the_last():
    assert ending(drive(Kayenta, FAILING)) == (End.ROLLED_BACK, 1_200)
    assert ending(drive(Kayenta, NOTHING)) == (End.ROLLED_BACK, 1_200)
    assert ending(drive(Kayenta, GOOD)) == (End.PROMOTED, 3_600)


def test_kayenta_gives_canary_and_control_equal_slices():
    split = Kayenta(1).split
    assert split.canary[0] == split.baseline[0] == 0.1
    assert split.stable[0] == pytest.approx(0.8)


def test_the_p99_of_a_histogram_is_linear_within_its_bin():
    latency = np.array([[100, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 98, 2, 0], [0, 0, 0, 0, 0, 0, 5], [0] * 7])
    estimated = p99_ms(latency)
    assert estimated[0] == pytest.approx(0.99 * 80)
    assert estimated[1] == pytest.approx(400)
    assert estimated[2] == 500
    assert np.isnan(estimated[3])


@pytest.mark.parametrize(("failed", "significant"), [(7, False), (8, True)])
def test_the_z_test_is_that_of_two_pooled_proportions(failed, significant):
    # z = (x/100 - 1/100) / sqrt(p (1 - p) 2/100) with p = (x + 1)/200: 2.165 for 7 failures, 2.388 for 8.
    assert exceeds(*(np.array([n]) for n in (failed, 100, 1, 100)))[0] == significant


def test_the_z_test_promotes_a_silent_canary():
    assert ending(drive(ZTest, NOTHING)) == (End.PROMOTED, 600)
    assert ending(drive(ZTest, FAILING)) == (End.ROLLED_BACK, 5)
    assert ending(drive(ZTest, SLOW)) == (End.ROLLED_BACK, 5)


def test_an_end_is_final():
    peer = drive(SageMaker, lambda now_s: FAILING if now_s <= 60 else GOOD)
    assert ending(peer) == (End.ROLLED_BACK, 120)
