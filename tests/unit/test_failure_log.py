"""A broken model does not fill the disk with its failures."""

import logging

from perch.serving.failures import FailureLog


def test_one_failure_a_second_is_told_with_the_number_of_those_left_out(caplog):
    clock = [0.0]
    log = FailureLog(lambda: clock[0])
    with caplog.at_level(logging.ERROR):
        for number in range(1_000):
            clock[0] = number / 400
            log.tell(f"r{number}", RuntimeError("broken"), explained=True)
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "Request r0 failed: broken (0 more since the last line)",
        "Request r400 failed: broken (399 more since the last line)",
        "Request r800 failed: broken (399 more since the last line)",
    ]


def test_a_traceback_is_written_only_where_the_error_does_not_explain_itself(caplog):
    for explained in (True, False):
        FailureLog().tell("r1", KeyError("price"), explained=explained)
    assert [record.exc_info is not None for record in caplog.records] == [False, True]
