"""Whatever policy is tried on a record: it decides the same until its deeds depart, and never breaks."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core_market import Version
from perch.core import decide
from perch.rollout import running as running_module
from perch.rollout.backtest import backtest
from perch.rollout.ledger import Record, read
from recorded import recorded
from service_world import FAST

BEHAVIOURS = [Version(), Version(error_rate=0.02), Version(median_ms=60.0), Version(silent=True)]


@cache
def record(behaviour: int, *, shadow: bool) -> Record:
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(running_module, "_DRAIN_S", 0.0)
        return read(recorded(Path(name), BEHAVIOURS[behaviour], replace(FAST, shadow=shadow)))


records = st.builds(lambda n, live: record(n, shadow=live), st.integers(0, len(BEHAVIOURS) - 1), st.booleans())
policies = st.builds(
    replace,
    st.just(FAST),
    alpha=st.floats(1e-6, 0.4),
    shadow=st.booleans(),
    shadow_s=st.floats(0, 20),
    start_weight=st.floats(0.001, 0.4),
    max_weight=st.floats(0.4, 0.5),
    bake_s=st.floats(0, 30),
    guard_s=st.floats(1, 30),
    baseline_share=st.floats(0, 0.2),
    tolerated_ratio=st.floats(1, 5),
    require_approval=st.booleans(),
)
tried = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@tried
@given(record=records, policy=policies)
def test_the_replay_ends_at_most_once_and_departs_before_it_guesses(record, policy):
    result = backtest(record, policy)
    assert len(result.replayed) <= len(result.recorded)
    assert all(step.outcome is None for step in result.replayed[:-1])
    if result.departure is None:
        assert result.replayed[-1].outcome == result.recorded[len(result.replayed) - 1].outcome
    if result.guessed_from is not None:
        assert result.departure is None or result.departure[0].tick <= result.guessed_from


@tried
@given(record=records, alpha=st.floats(0.002, 0.4))
def test_with_another_alpha_the_replay_up_to_the_departure_is_no_guess(record, alpha):
    policy = replace(record.attempt.policy, alpha=alpha)
    result = backtest(record, policy)
    state = record.attempt.state
    for tick, step in zip(record.ticks, result.replayed, strict=False):
        if result.guessed_from is not None and step.tick >= result.guessed_from:
            break
        state, decision = decide(state, tick.observation, policy)
        assert step.decision == decision
