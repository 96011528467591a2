"""Promotion may wait for a person; her word then counts as approval of what is proven, and else as her own risk."""

from dataclasses import replace

from core_market import DEMO, Market
from perch.core import Cause
from perch.core.types import Action, Command, Phase, Verdict

WAITING = replace(DEMO, shadow=False, margin=0.05, require_approval=True)
LONG_S = 120


def test_a_proven_canary_waits_for_approval():
    market = Market(policy=WAITING)
    market.run(LONG_S)
    last = market.decisions[-1]
    assert market.state.phase is Phase.RAMP
    assert (last.action, last.verdict) == (Action.HOLD, Verdict.HEALTHY)
    assert "waiting for a person's approval" in last.sentence


def test_without_the_setting_the_same_canary_does_not_wait():
    market = Market(policy=replace(WAITING, require_approval=False))
    market.run(LONG_S)
    assert market.state.phase in {Phase.GUARD, Phase.DONE}


def test_approval_of_what_is_proven_promotes_on_the_proof():
    market = Market(policy=WAITING, commands={LONG_S: Command.PROMOTE})
    market.run(LONG_S)
    assert (market.decisions[-1].action, market.state.promoted_by) == (Action.PROMOTE, Cause.PROVEN)
    assert market.decisions[-1].sentence.startswith("Promoted with a person's approval: the canary is proven")


def test_a_person_who_does_not_wait_for_the_proof_promotes_at_her_own_risk():
    market = Market(policy=WAITING, commands={5: Command.PROMOTE})
    market.run(5)
    assert (market.decisions[-1].action, market.state.promoted_by) == (Action.PROMOTE, Cause.PERSON)
    assert "without waiting for proof" in market.decisions[-1].sentence
