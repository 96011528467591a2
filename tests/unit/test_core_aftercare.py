"""Who is to blame, once the guard's alarm has rung: one rule at a time, on evidence made by hand."""

from core_market import ALL_ARMS, LIVE_ONLY, Market
from perch.core import Cause
from perch.core.aftercare import blame_both, blame_canary, exonerate, give_up, relieve
from perch.core.events import Tick, nothing
from perch.core.evidence import CLEARING
from perch.core.guard import Guard
from perch.core.situation import Situation
from perch.core.transitions import soften
from perch.core.types import Action, Phase
from perch.core.vector import Vector


def in_confirmation(**wealth):
    """A rollout whose alarm rang for failures, with this evidence: (that the first arm harms, that it does not)."""
    started = Market(policy=LIVE_ONLY, arms=ALL_ARMS)
    started.run(10)
    state = soften(started.state, LIVE_ONLY, Guard(rates=(0.01, 0.01), trials=200, rang=0))
    comparisons = {}
    for pair, start in state.comparisons.items():
        harm, clear = wealth.get(pair.name.lower(), (1.0, 1.0))
        array = start.array * harm
        array[:CLEARING] = start.array[:CLEARING] * clear
        comparisons[pair] = Vector(array)
    state = state._replace(comparisons=comparisons)
    arms = dict.fromkeys(ALL_ARMS, nothing(state.reference))
    return Situation(state, weighed=True, policy=LIVE_ONLY, tick=Tick(0, 0.0, arms))


HARMS, CLEARED = (200.0, 0.1), (0.1, 200.0)


def test_a_canary_that_harms_beside_the_baseline_is_blamed_once_the_champion_is_cleared():
    unknown = in_confirmation(canary_baseline=HARMS)
    cleared_champion = in_confirmation(canary_baseline=HARMS, stable_baseline=CLEARED)
    assert blame_canary(unknown) is None
    move = blame_canary(cleared_champion)
    assert (move.action, move.state.cause) == (Action.ROLL_BACK, Cause.HARM)
    assert "the baseline did so in" in move.sentence


def test_a_canary_that_harms_beside_the_champion_is_blamed():
    assert blame_canary(in_confirmation(canary_stable=HARMS)).action is Action.ROLL_BACK


def test_a_common_incident_needs_every_safe_arm_to_do_no_better():
    assert exonerate(in_confirmation(canary_stable=CLEARED)) is None
    assert exonerate(in_confirmation(canary_stable=CLEARED, canary_baseline=CLEARED)).action is Action.RAMP


def test_the_champion_is_not_blamed_while_it_keeps_what_the_slo_allows():
    """However much better the baseline does: it is another kind of version."""
    both = in_confirmation(canary_stable=HARMS, canary_baseline=HARMS, stable_baseline=HARMS)
    assert blame_both(both) is None
    assert blame_canary(both).action is Action.ROLL_BACK


def test_a_rate_that_is_normal_again_is_forgiven_once_and_no_second_time():
    def situation(alarms, relief):
        s = in_confirmation()
        guard = Guard(rates=(0.01, 0.01), trials=200, rang=0, alarms=alarms, relief=relief)
        return Situation(s.state._replace(guard=guard), weighed=True, policy=LIVE_ONLY, tick=s.tick)

    assert relieve(situation(1, relief=2.9)) is None
    move = relieve(situation(1, relief=3.0))
    assert move.state.phase is Phase.GUARD
    assert move.state.weights.canary > 0.9
    assert relieve(situation(2, relief=3.0)) is None


def test_without_a_verdict_the_traffic_goes_to_the_champion_unless_it_is_the_suspect():
    def given_up(**wealth):
        s = in_confirmation(**wealth)
        late = s.state._replace(now_s=s.state.now_s + LIVE_ONLY.guard_s)
        return give_up(Situation(late, weighed=True, policy=LIVE_ONLY, tick=s.tick))

    assert give_up(in_confirmation()) is None
    assert given_up().action is Action.ROLL_BACK
    assert given_up(canary_baseline=HARMS).action is Action.FALL_BACK
    assert given_up().state.cause is Cause.INCONCLUSIVE
