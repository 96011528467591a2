"""What an earlier Perch wrote is read: its state goes on and its ledger is told, with the fields that it did not know.

The files were written without a policy's `require_approval`, an attempt's `retry_of` and `served`, an observation's
`pods`, a decision's `eject` and the split's `stable`.
"""

import asyncio
from pathlib import Path

from perch.core import Policy, decide, dumps, loads
from perch.core.types import Action, Observation
from perch.rollout.attempt import Served
from perch.rollout.backtest import backtest
from perch.rollout.ledger import read
from perch.rollout.standing import standing_file
from perch.rollout.story import story

EARLIER = Path(__file__).parent / "earlier"


def test_a_state_of_an_earlier_layout_goes_on():
    attempt = asyncio.run(standing_file(EARLIER / "service.json").load()).attempt
    assert (attempt.served, attempt.retry_of, attempt.state.sample_ratio.stable) == (Served(), None, 0)
    assert attempt.policy.require_approval is Policy().require_approval
    assert loads(type(attempt), dumps(attempt)) == attempt
    state, decision = decide(attempt.state, Observation(attempt.tick + 1, 1_007.0, {}), attempt.policy)
    assert (state.tick, decision.action) == (attempt.tick + 1, Action.HOLD)


def test_a_ledger_of_an_earlier_layout_is_told_and_decided_again():
    record = read(EARLIER / "ledger.jsonl")
    assert [(tick.observation.pods, tick.decision.eject) for tick in record.ticks] == [({}, ())] * 3
    assert backtest(record, record.attempt.policy).same == len(record.ticks)
    assert next(story(EARLIER / "ledger.jsonl")).startswith("Rollout v2-1: version 2 asks to replace champion 1")
