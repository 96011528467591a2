"""S3, S8 and the broken assumptions of the benchmark: what the engine does there, with few replications."""

import numpy as np
import pytest
from benchmarks.decisions import labels, pods, robustness

from perch.core.paired import POINTS, spread
from perch.core.types import Action, Arm

FLAWS = {flaw.name: flaw for flaw in robustness.FLAWS}


def case(module, name):
    return next(case for case in module.cases() if case.name == name)


@pytest.mark.parametrize("worse", [0.0, 0.05, 0.2])
def test_the_canary_of_s3_is_worse_by_as_much_as_it_says(worse):
    differences = labels._differences(worse, np.random.default_rng(1))
    assert differences.mean() / labels._champion_loss() == pytest.approx(worse, abs=0.012)
    assert np.dot(spread(differences), POINTS) == pytest.approx(differences.sum(), rel=0.01, abs=1.0)


def test_a_log_loss_a_fifth_worse_comes_home_within_three_minutes_of_the_first_mature_label():
    result = labels.run(case(labels, "S3 log loss 20 % worse"), replications=2)
    assert result.rolled_back == 1
    assert 0 < result.median_s < 180


def test_half_of_the_clicks_are_missed_before_promotion():
    result = labels.run(case(labels, "S3 clicks 50 % fewer, only clicks seen"), replications=2)
    assert (result.rolled_back, result.promoted) == (1, 0)


def test_a_sick_pod_is_mostly_told_from_its_version_even_where_it_gets_a_request_in_five_seconds():
    result = pods.run(case(pods, "S8 one of five canary pods fails 20 %"), replications=8)
    assert result.rolled_back + result.promoted == 1
    assert 0.5 <= result.named == result.promoted


def test_a_version_is_promoted_only_without_its_sick_pod():
    result = pods.run(case(pods, "S8 one of five canary pods fails 20 %, first weight 10 %"), replications=8)
    assert result.rolled_back + result.promoted == 1
    assert 0.75 <= result.named == result.promoted


def test_a_sick_pod_of_the_champion_is_named_too():
    result = pods.run(case(pods, "S8 one of five stable pods fails 20 %"), replications=3)
    assert (result.named, result.rolled_back) == (1, 0)


@pytest.mark.parametrize("name", ["one reading in five is lost", "arms read a second apart, in an incident"])
def test_what_only_readings_suffer_convicts_nobody(name):
    assert all(robustness.rehearse(FLAWS[name], 0.001, seed)[0] is not Action.ROLL_BACK for seed in range(8))


@pytest.mark.parametrize("name", FLAWS)
def test_a_harmful_canary_comes_home_whatever_is_broken(name):
    assert robustness.rehearse(FLAWS[name], 0.05, seed=1)[0] is Action.ROLL_BACK


def test_warm_up_forgives_a_cold_canary_and_nothing_else_does():
    cold, warmed = (
        FLAWS[name] for name in ("a cold canary: its first 30 answers are slow", "the same, `warmUpRequests: 30`")
    )
    assert robustness.rehearse(cold, 0.001, seed=2)[0] is Action.ROLL_BACK
    assert robustness.rehearse(warmed, 0.001, seed=2)[0] is not Action.ROLL_BACK


def test_an_arm_of_the_world_is_spoilt_as_its_flaw_says():
    world = robustness.SmallCanary(0.001, seed=1)
    state = robustness._begin(robustness.LIVE, 1)
    world.tick(1, state.weights)
    assert world.latency_factor[Arm.CANARY] == 1.0
    world._spoil(2, type(state.weights)(stable=0.5, canary=0.5))
    assert world.latency_factor[Arm.CANARY] == pytest.approx(5.0)
