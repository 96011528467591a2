"""The weight goes down while harm is likely, and up again when it is not."""

from dataclasses import replace
from itertools import pairwise

import pytest

from core_market import GOOD, LIVE_ONLY, Market, Version, always
from perch.core import Cause
from perch.core.types import Command, Phase

HIGH_ODDS = replace(LIVE_ONLY, alpha=1e-9)  # so that the likely takes long to be proven
SMALL = Version(error_rate=0.01)


def market_of(seed=0):
    """A canary that begins to harm when it has about half of the traffic."""
    return Market(policy=HIGH_ODDS, canary=lambda _, elapsed_s: SMALL if elapsed_s > 120 else GOOD, seed=seed)


def lowered(market):
    """Weights before and after each retreat."""
    return [
        (before.weights.canary, after.weights.canary)
        for before, after in pairwise(market.decisions)
        if after.phase is Phase.RAMP and after.weights.canary < before.weights.canary
    ]


@pytest.mark.parametrize("seed", range(5))
def test_while_harm_is_likely_a_quarter_of_the_weight_is_left_but_no_less_than_a_tenth_of_the_traffic(seed):
    market = market_of(seed)
    market.run(400, until=lambda state: state.phase is Phase.DONE)
    retreats = lowered(market)
    assert retreats
    for before, after in retreats:
        assert after == pytest.approx(max(before / 4, 0.1))


def test_a_retreat_says_how_far_and_why():
    market = market_of()
    market.run(400, until=lambda _: bool(lowered(market)))
    decision, policy = market.decisions[-1], market.policy
    assert decision.e_value > policy.freeze_e_value
    assert decision.sentence.startswith("Lowered from ")
    assert " of the traffic until it is clear: " in decision.sentence


def test_a_canary_that_has_less_than_a_tenth_of_the_traffic_keeps_it():
    market = Market(policy=HIGH_ODDS, canary=always(SMALL))
    market.run(100)
    assert max(decision.e_value for decision in market.decisions) > HIGH_ODDS.freeze_e_value
    assert lowered(market) == []


def test_two_changes_of_the_weight_are_a_reaction_time_apart():
    market = market_of()
    market.run(400)
    changed_s = [s for s, (before, after) in enumerate(pairwise(market.decisions)) if before.weights != after.weights]
    assert all(later - earlier >= market.policy.ramp_interval_s for earlier, later in pairwise(changed_s[:-1]))


def test_a_paused_canary_keeps_its_weight():
    """Who pauses wants to look at what is there; only proof of harm takes it away."""
    market = Market(policy=replace(HIGH_ODDS, start_weight=0.2), commands={1: Command.PAUSE}, canary=always(SMALL))
    market.run(60)
    assert market.state.comparisons
    assert max(decision.e_value for decision in market.decisions) > market.policy.freeze_e_value
    assert {decision.weights.canary for decision in market.decisions if decision.phase is Phase.RAMP} == {0.2}


def test_a_scare_that_passes_costs_time_and_not_the_release():
    def scare(phase, elapsed_s):
        return Version(error_rate=0.5) if 100 <= elapsed_s < 101 else GOOD

    market = Market(policy=replace(LIVE_ONLY, start_weight=0.2, alpha=1e-9), canary=scare)
    market.run(900, until=lambda state: state.phase in (Phase.GUARD, Phase.DONE))
    assert lowered(market)
    assert (market.state.phase, market.state.promoted_by) == (Phase.GUARD, Cause.PROVEN)
