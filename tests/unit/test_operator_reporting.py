"""What the object's status tells people, and keeps for the operator."""

from dataclasses import replace

import numpy as np
import pytest

from core_market import GRID, SLO, Version
from perch.core import Policy, begin, reference
from perch.core.types import Action, Arm, Phase, Weights
from perch.errors import RolloutError
from perch.operator.reporting import packed, told, unpacked
from perch.rollout.attempt import Attempt
from perch.rollout.standing import Standing
from perch.settings.status import ENGINE_LIMIT_BYTES


@pytest.fixture
def rolling():
    rng = np.random.default_rng(0)
    fixed = reference(Version().serve(10_000, rng), GRID, SLO, None)
    state = begin(Policy(), SLO, fixed, [Arm.STABLE, Arm.CANARY, Arm.BASELINE], 1_000.0)
    counts = {f"{v}/pod-{i}": {"stable": Version().serve(9_000, rng)} for v in (1, 3, 4) for i in range(10)}
    attempt = Attempt("v4-1", 4, 3, 1, Policy(), state, counts, sentence="Shadow.", e_value=1.25)
    return Standing("ad-clicks", 3, 1, attempt)


def test_a_rollout_is_told_with_its_phase_weight_and_odds(rolling):
    status = told(rolling, Weights(stable=0.88, canary=0.12))
    assert (status.champion, status.baseline, status.canary) == (3, 1, 4)
    assert (status.phase, status.weight, status.evidence) == ("shadow", "12 %", "1.2 to 1")
    assert (status.rollout, status.outcome, status.sentence) == ("v4-1", None, "Shadow.")


def test_after_its_end_the_service_serves_and_the_last_sentence_stays(rolling):
    ended = replace(rolling.attempt, state=rolling.attempt.state._replace(phase=Phase.DONE, outcome=Action.ROLL_BACK))
    status = told(rolling.after(ended), Weights())
    assert (status.phase, status.canary, status.weight, status.evidence) == ("serving", None, None, None)
    assert (status.rollout, status.outcome, status.sentence) == ("v4-1", "roll_back", "Shadow.")


def test_what_is_kept_is_read_back_bit_for_bit_and_is_small(rolling):
    assert unpacked(packed(rolling)) == rolling
    assert len(packed(rolling)) < ENGINE_LIMIT_BYTES / 10


@pytest.mark.parametrize("text", ["", "no base64!", "aGVsbG8=", packed(Standing("ads", 1, 1))[:-8]])
def test_what_somebody_else_wrote_there_is_named(text):
    with pytest.raises(RolloutError, match=r"status\.engine does not say where the service stands"):
        unpacked(text)
