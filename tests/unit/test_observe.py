"""Counters become what was counted since the last tick."""

from perch.core.types import Arm, Command, Counts
from perch.signals.observe import difference, observe, source_name, version_of


def counts(n, failed=0):
    return Counts(n, failed, (n - failed, 0), (0, n - failed))


def see(previous, current, deployed, **further):
    return observe(1, 10.0, previous=previous, current=current, deployed=deployed, **further)


STABLE = {Arm.STABLE: 1}


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
        {"2": {"canary": counts(1), "shadow": counts(2)}},
        {"2": {"canary": counts(2), "shadow": counts(5), "direct": counts(9)}},
        {Arm.CANARY: 2, Arm.SHADOW: 2},
    )
    assert observation.arms == {Arm.CANARY: counts(1), Arm.SHADOW: counts(3)}


def test_a_source_that_does_not_answer_is_no_data_and_its_counts_come_with_the_next_answer():
    silent, totals = see({"1": {"stable": counts(10)}}, {"1": None}, STABLE)
    assert silent.arms == {Arm.STABLE: None}
    later, _ = see(totals, {"1": {"stable": counts(17)}}, STABLE)
    assert later.arms == {Arm.STABLE: counts(7)}


def test_a_source_that_nobody_reads_is_no_data():
    assert see({}, {}, STABLE)[0].arms == {Arm.STABLE: None}


def test_the_command_and_the_time_are_part_of_the_observation():
    observation, _ = see({}, {}, {}, command=Command.PAUSE)
    assert (observation.tick, observation.now_s, observation.command) == (1, 10.0, Command.PAUSE)


def test_the_pods_of_a_version_add_up_to_its_arm_and_are_told_apart():
    observation, _ = see(
        {"1/a": {"stable": counts(10)}, "1/b": {"stable": counts(20)}},
        {"1/a": {"stable": counts(12)}, "1/b": {"stable": counts(23, 1)}},
        STABLE,
    )
    assert observation.arms == {Arm.STABLE: counts(5, 1)}
    assert observation.pods == {Arm.STABLE: {"a": counts(2), "b": counts(3, 1)}}


def test_a_pod_that_comes_to_others_counts_from_its_start():
    before = {"1/a": {"stable": counts(10)}}
    observation, totals = see(before, {"1/a": {"stable": counts(12)}, "1/b": {"stable": counts(4)}}, STABLE)
    assert observation.arms == {Arm.STABLE: counts(6)}
    assert see(totals, {"1/b": {"stable": counts(5)}}, STABLE)[0].arms == {Arm.STABLE: counts(1)}


def test_an_arm_is_seen_as_long_as_one_of_its_pods_answers():
    before = {"1/a": {"stable": counts(10)}, "1/b": {"stable": counts(20)}}
    one, totals = see(before, {"1/a": {"stable": counts(12)}, "1/b": None}, STABLE)
    assert one.arms == {Arm.STABLE: counts(2)}
    back, _ = see(totals, {"1/a": {"stable": counts(12)}, "1/b": {"stable": counts(25)}}, STABLE)
    assert back.arms == {Arm.STABLE: counts(5)}
    assert see(before, {"1/a": None, "1/b": None}, STABLE)[0].arms == {Arm.STABLE: None}


def test_one_process_is_not_told_apart():
    assert see({"1": {"stable": counts(1)}}, {"1": {"stable": counts(2)}}, STABLE)[0].pods == {}


def test_a_source_is_named_by_its_version_and_its_pod():
    assert (source_name(3), source_name(3, "ads-v3-x2z")) == ("3", "3/ads-v3-x2z")
    assert [version_of(source) for source in ("3", "3/ads-v3-x2z")] == [3, 3]


def test_a_pod_that_gave_way_to_another_is_forgotten_and_one_that_does_not_answer_is_not():
    seen = {name: {"canary": counts(10)} for name in ("3/gone", "3/silent", "3/here", "1")}
    _, totals = observe(
        1, 1.0, previous=seen, current={"3/silent": None, "3/here": {"canary": counts(12)}}, deployed={Arm.CANARY: 3}
    )
    assert totals.keys() == {"3/silent", "3/here", "1"}
