"""Which sampled requests make a window for the external judge."""

import numpy as np

from perch.signals.judging import FEWEST_ROWS, LAG_S, LONGEST_S, ROWS, STRETCH_S, Sample, close

BEGIN_S = 1_000.0


def samples(stretches, begin_s=BEGIN_S):
    """Of each stretch some of the champion's and some of the canary's, mixed."""
    made = [
        Sample(begin_s + number * STRETCH_S + i * STRETCH_S / 5_000, is_canary, f"{number}-{is_canary}-{i}", 0)
        for number, counts in enumerate(stretches)
        for is_canary, count in zip((False, True), counts, strict=True)
        for i in range(count)
    ]
    return sorted(made)


def closed(stretches, now_s=1e9):
    return close(samples(stretches), BEGIN_S, now_s)


def test_a_window_has_equally_many_rows_of_both_in_every_stretch():
    window = closed([(700, 20), (30, 90), (500, 150)])
    for number, rows in enumerate((20, 30, 150)):
        for arm in (window.stable, window.canary):
            assert sum((one.time_s - BEGIN_S) // STRETCH_S == number for one in arm) == rows
    assert {one.is_canary for one in window.stable} == {False}
    assert {one.is_canary for one in window.canary} == {True}


def test_it_ends_with_the_first_stretch_in_which_there_are_enough():
    window = closed([(150, 150), (150, 150), (150, 150)])
    assert window.until_s == BEGIN_S + 2 * STRETCH_S
    assert len(window.canary) == 300
    assert closed([(150, 150), (10_000, ROWS - 151)]) is None


def test_it_waits_for_events_that_may_still_be_on_their_way():
    enough, end_s = [(ROWS, ROWS)], BEGIN_S + STRETCH_S
    assert closed(enough, now_s=end_s + LAG_S - 0.1) is None
    assert closed(enough, now_s=end_s + LAG_S).until_s == end_s


def test_after_a_long_time_fewer_rows_do():
    stretches = int(LONGEST_S / STRETCH_S)
    few = FEWEST_ROWS // stretches + 1
    window = closed([(9, few)] * (stretches + 5))
    assert window.until_s == BEGIN_S + LONGEST_S
    assert FEWEST_ROWS <= len(window.canary) < ROWS
    assert closed([(9, 0)] * (stretches + 5)) is None


def test_a_copy_is_compared_with_its_original_where_both_are_there():
    live = samples([(400, 0)])
    copies = [one._replace(is_canary=True, shadow=1) for one in live]
    window = close(sorted(live[:250] + copies), BEGIN_S, 1e9)
    ids = [{one.request_id for one in arm} for arm in (window.stable, window.canary)]
    assert len(window.canary) == 250
    both = close(sorted(live + copies), BEGIN_S, 1e9)
    assert {one.request_id for one in both.stable} == {one.request_id for one in both.canary}
    assert ids[0] == {one.request_id for one in live[:250]}


def test_which_rows_are_chosen_does_not_follow_from_what_a_client_calls_its_requests():
    """A client that numbers its requests by users: the champion's rows must not all be those of the first users."""
    made = [
        Sample(BEGIN_S + i / 1_000, is_canary, f"user-{i:04}", 0) for i in range(2_000) for is_canary in (i % 9 == 0,)
    ]
    window = close(made, BEGIN_S, 1e9)
    users = np.array([int(one.request_id[-4:]) for one in window.stable])
    assert 800 < users.mean() < 1_200
