"""A cold process is slow once: of the canary's first requests neither latency nor scores are weighed.

Which those are goes by count only. Failures, silence and the split count from the first.
"""

from dataclasses import replace

import numpy as np
import pytest

from core_market import GOOD, LIVE_ONLY, Market, Version, always
from perch.core import Cause, Policy
from perch.core.events import added
from perch.core.types import Arm, Phase

COLD = Version(median_ms=300.0)
BROKEN = Version(error_rate=0.5)
WARMING = replace(LIVE_ONLY, start_weight=0.1, warm_up_requests=60)


def starting(first, requests, policy=WARMING, seed=0):
    """A market whose canary answers its first requests, whole ticks of them, as `first` does."""
    rng, answered = np.random.default_rng(seed), 0

    def edit(observation):
        nonlocal answered
        n = observation.arms[Arm.CANARY].requests
        version = first if answered < requests else GOOD
        answered += n
        return replace(observation, arms={**observation.arms, Arm.CANARY: version.serve(n, rng)})

    return Market(policy=policy, edit=edit, seed=seed)


def test_the_first_slow_answers_of_a_cold_canary_count_for_nothing():
    for seed in range(5):
        market = starting(COLD, 60, seed=seed)
        market.run(20)
        assert market.state.cause is None, market.sentence
        unwarmed = starting(COLD, 60, replace(WARMING, warm_up_requests=0), seed=seed)
        unwarmed.run(20)
        assert unwarmed.state.cause is Cause.HARM


def counted(state):
    """What was taken in of each arm, weighed or not."""
    return added(state.seen.arms, state.batch.arms)


def test_until_the_canary_is_warm_only_failures_are_looked_at_in_either_arm():
    market = starting(COLD, 60)
    while market.state.warmed < 60:
        market.step()
        assert all(one == one.failures_only() for one in counted(market.state).values())
        assert sum(one.finished for one in counted(market.state).values()) > 0
    market.run(5)
    assert all(one.answered > 0 for one in counted(market.state).values())


@pytest.mark.parametrize("first", [GOOD, COLD, Version(error_rate=0.02), Version(score_mean=3.0)])
def test_which_answers_are_left_out_goes_by_their_number_whatever_became_of_them(first):
    """The tick in which the number is reached is left out as a whole."""
    market, seen = starting(first, 10**9), 0
    while seen < 60:
        market.step()
        seen += market.observations[-1].arms[Arm.CANARY].finished
        assert (market.state.warmed, counted(market.state)[Arm.CANARY].answered) == (seen, 0)
    market.step()
    assert market.state.warmed == seen
    assert counted(market.state)[Arm.CANARY].answered > 0


def test_a_cold_canary_that_fails_goes_home_before_it_is_warm():
    market = starting(BROKEN, 10**9, replace(WARMING, warm_up_requests=1_000))
    assert market.run(60).cause is Cause.HARM
    assert market.state.warmed < 1_000


def test_a_canary_that_warmed_up_in_shadow_is_warm_when_it_goes_live():
    market = Market(policy=replace(Policy(), shadow_s=10.0, warm_up_requests=500))
    market.run(300, until=lambda state: state.phase is Phase.RAMP)
    warmed, counted = market.state.warmed, market.state.seen.arms[Arm.CANARY].finished
    assert warmed >= 500
    market.run(40, until=lambda state: state.seen.arms[Arm.CANARY].finished > counted)
    assert market.state.warmed == warmed
    assert market.state.seen.arms[Arm.CANARY].finished > counted


def test_a_canary_that_stays_slow_is_found_when_it_is_warm():
    market = starting(COLD, 10**9)
    assert market.run(60).cause is Cause.HARM
    assert market.state.warmed >= 60


def test_a_canary_that_never_answers_is_found_silent_although_it_never_warms_up():
    market = Market(policy=WARMING, canary=always(Version(silent=True)))
    assert market.run(60).cause is Cause.SILENT
