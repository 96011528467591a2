"""What a service remembers between two ticks and two starts, and what follows from it."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from core_market import GRID, SLO, Version
from perch.core import Policy, begin, reference
from perch.core.types import Action, Arm, Counts, Phase, Weights
from perch.errors import RolloutError
from perch.rollout.attempt import Attempt
from perch.rollout.standing import Standing, standing_file

POLICY = Policy()


@pytest.fixture
def attempt(rng):
    fixed = reference(Version().serve(10_000, rng), GRID, SLO, None)
    state = begin(POLICY, SLO, fixed, [Arm.STABLE, Arm.CANARY, Arm.BASELINE], 1_000.0)
    counts = {"3": {"stable": Version().serve(50, rng), "canary": Counts.none(GRID)}, "4": {}}
    return Attempt("v4-1", 4, champion=3, baseline=1, policy=POLICY, state=state, totals=counts, sentence="Shadow.")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def load(path):
    return asyncio.run(standing_file(path).load())


def in_phase(attempt, phase, outcome=None):
    return replace(attempt, state=attempt.state._replace(phase=phase, outcome=outcome))


def test_what_is_saved_is_what_is_loaded(attempt, tmp_path):
    for standing in (Standing("ads", 3, 1), Standing("ads", 3, 3, attempt)):
        asyncio.run(standing_file(tmp_path / "service.json").save(standing))
        assert load(tmp_path / "service.json") == standing
    assert [path.name for path in tmp_path.iterdir()] == ["service.json"]


def test_nothing_was_saved_yet(tmp_path):
    assert load(tmp_path / "service.json") is None


@pytest.mark.parametrize(
    "text", ["", "{", "{}", '{"model": "ads", "champion": "3", "baseline": 1, "attempt": null}', "ÿ"]
)
def test_a_record_that_is_damaged_is_named_and_not_taken_for_a_new_service(tmp_path, text):
    path = tmp_path / "service.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(RolloutError, match=r"service\.json does not say where the service stands: .* move it away"):
        load(path)


@pytest.mark.parametrize(
    ("phase", "outcome", "champion"),
    [
        (Phase.SHADOW, None, 3),
        (Phase.RAMP, None, 3),
        (Phase.GUARD, None, 4),
        (Phase.CONFIRM, None, 4),
        (Phase.DONE, Action.PROMOTE, 4),
        (Phase.DONE, Action.ROLL_BACK, 3),
        (Phase.DONE, Action.FALL_BACK, 1),
    ],
)
def test_who_is_entitled_to_be_champion_follows_from_the_state(attempt, phase, outcome, champion):
    tried = in_phase(attempt, phase, outcome)
    assert tried.entitled == champion
    assert Standing("ads", 3, 1).after(tried).champion == (champion if tried.done else 3)


def test_each_arm_is_counted_by_the_process_of_its_version(attempt):
    assert attempt.deployed == {Arm.STABLE: 3, Arm.CANARY: 4, Arm.SHADOW: 4, Arm.BASELINE: 1}
    assert Arm.BASELINE not in replace(attempt, baseline=3).deployed


def test_the_canary_has_an_arm_and_the_rollouts_weights_until_the_end(attempt):
    rolling = Standing("ads", 3, 1, attempt)
    assert rolling.arms == {Arm.STABLE: 3, Arm.BASELINE: 1, Arm.CANARY: 4}
    assert rolling.weights(0.05) == attempt.state.weights
    ended = rolling.after(in_phase(attempt, Phase.DONE, Action.ROLL_BACK))
    assert ended.arms == {Arm.STABLE: 3, Arm.BASELINE: 1}
    assert ended.weights(0.05) == Weights(baseline=0.05, stable=0.95)


def test_a_baseline_that_is_the_champion_needs_no_arm_and_no_share():
    assert Standing("ads", 1, 1).arms == {Arm.STABLE: 1}
    assert Standing("ads", 1, 1).weights(0.05) == Weights()
