"""Counters become what was counted since the last tick."""

from perch.core.types import Arm, Command, Counts
from perch.signals.observe import difference, observe


def counts(n, failed=0):
    return Counts(n, failed, (n - failed, 0), (0, n - failed))


def see(previous, current, deployed, **further):
    return observe(1, 10.0, previous=previous, current=current, deployed=deployed, **further)


STABLE = {Arm.STABLE: "v1"}


def test_a_difference_is_what_came_on_top():
    assert difference(counts(10, 1), counts(15, 3)) == counts(5, 2)


def test_the_first_reading_only_tells_where_to_count_from():
    assert difference(None, counts(10)) == counts(0)


def test_after_a_restart_everything_is_new():
    assert difference(counts(10), counts(4)) == counts(4)


def test_one_lower_counter_is_enough_to_see_a_restart():
    before = Counts(10, 0, (10, 0), (0, 10))
    after = Counts(12, 0, (1, 11), (0, 12))
    assert difference(before, after) == after


def test_arms_of_one_process_are_told_apart():
    observation, _ = see(
        {"v2": {"canary": counts(1), "shadow": counts(2)}},
        {"v2": {"canary": counts(2), "shadow": counts(5), "direct": counts(9)}},
        {Arm.CANARY: "v2", Arm.SHADOW: "v2"},
    )
    assert observation.arms == {Arm.CANARY: counts(1), Arm.SHADOW: counts(3)}


def test_a_source_that_does_not_answer_is_no_data_and_its_counts_come_with_the_next_answer():
    silent, totals = see({"v1": {"stable": counts(10)}}, {"v1": None}, STABLE)
    assert silent.arms == {Arm.STABLE: None}
    later, _ = see(totals, {"v1": {"stable": counts(17)}}, STABLE)
    assert later.arms == {Arm.STABLE: counts(7)}


def test_a_source_that_nobody_reads_is_no_data():
    assert see({}, {}, STABLE)[0].arms == {Arm.STABLE: None}


def test_the_command_and_the_time_are_part_of_the_observation():
    observation, _ = see({}, {}, {}, command=Command.PAUSE)
    assert (observation.tick, observation.now_s, observation.command) == (1, 10.0, Command.PAUSE)
