"""The flapping limiter: a service whose rollouts keep coming home rests for a while."""

from dataclasses import replace

import pytest

from perch.core import Cause, Policy
from perch.core.types import Action
from perch.rollout.admission import repeated_rollbacks
from perch.rollout.attempt import Served
from perch.rollout.history import Summary

POLICY = Policy(rollback_limit=3, rollback_window_s=600.0)
HOME = Summary("v2-1", 2, 1, None, 0.0, 0.0, Action.ROLL_BACK, Cause.HARM, "Rolled back.", Served())


def came_home(*times_s, **facts):
    return [replace(HOME, name=f"v{i}-1", last_s=time_s, **facts) for i, time_s in enumerate(times_s, 2)]


def test_fewer_rollbacks_than_the_limit_are_put_up_with():
    assert repeated_rollbacks(came_home(1_000, 1_100), POLICY, 1_101) is None


def test_the_refusal_says_how_often_since_when_and_until_when():
    said = repeated_rollbacks(came_home(1_000, 1_100, 1_200), POLICY, 1_200)
    assert "3 times since 1970-01-01 00:16:40 UTC (v2-1, v3-1, v4-1)" in said
    assert "stops at 3 within 600 s" in said
    assert said.endswith("until 1970-01-01 00:26:40 UTC.")


@pytest.mark.parametrize(("now_s", "refused"), [(1_200, True), (1_599.9, True), (1_600, False), (9_999, False)])
def test_the_limit_holds_until_the_oldest_of_them_is_out_of_the_window(now_s, refused):
    assert bool(repeated_rollbacks(came_home(1_000, 1_100, 1_200), POLICY, now_s)) is refused


def test_with_more_than_the_limit_the_window_of_the_last_ones_counts():
    past = came_home(1_000, 1_100, 1_200, 1_300)  # one had been released by force
    assert repeated_rollbacks(past, POLICY, 1_650).endswith("until 1970-01-01 00:28:20 UTC.")
    assert repeated_rollbacks(past, POLICY, 1_699) is not None
    assert repeated_rollbacks(past, POLICY, 1_700) is None


def test_the_order_in_which_they_are_found_does_not_matter():
    past = came_home(1_000, 1_100, 1_200)
    assert repeated_rollbacks(past[::-1], POLICY, 1_300) == repeated_rollbacks(past, POLICY, 1_300)


@pytest.mark.parametrize(
    ("facts", "counts"),
    [
        ({"outcome": Action.ROLL_BACK, "cause": Cause.PERSON}, False),
        ({"outcome": Action.PROMOTE, "cause": Cause.PROVEN}, False),
        ({"outcome": None, "cause": None}, False),
        ({"outcome": Action.FALL_BACK, "cause": Cause.HARM}, True),
        ({"outcome": Action.ROLL_BACK, "cause": Cause.SILENT}, True),
        ({"outcome": Action.ROLL_BACK, "cause": Cause.INCONCLUSIVE}, True),
    ],
)
def test_what_came_home_by_itself_counts_and_what_a_person_asked_for_does_not(facts, counts):
    assert bool(repeated_rollbacks(came_home(1_000, 1_100, 1_200, **facts), POLICY, 1_300)) is counts


def test_a_limit_of_one_is_told_in_words():
    assert "came home once since" in repeated_rollbacks(came_home(1_000), replace(POLICY, rollback_limit=1), 1_001)
