"""A load test passes only when it measured something and the promise was kept."""

import math

import pytest

from perch.core.policy import Slo
from perch.load.result import judge, percentile

SLO = Slo(latency_p99_ms=100, error_rate=0.01)


def judged(latencies_ms, failed=0, *, elapsed_s=10.0, target_rps=10.0):
    return judge(latencies_ms, failed, elapsed_s=elapsed_s, target_rps=target_rps, slo=SLO)


def test_percentiles_are_values_that_were_measured():
    values = [float(v) for v in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert percentile([7.25], 0.99) == 7.25
    assert math.isnan(percentile([], 0.5))


def test_a_run_within_the_slo_passes():
    result = judged([20.0] * 99 + [500.0])
    assert result.passed
    assert (result.p99_ms, result.error_rate, result.rps, result.requests) == (20.0, 0.0, 10.0, 100)
    assert result.sentence.endswith("passed.")


def test_the_order_of_latencies_does_not_matter():
    assert judged([1.0, 300.0, 2.0]) == judged([300.0, 2.0, 1.0])


def test_a_p99_at_its_limit_passes_and_above_it_fails():
    assert judged([100.0] * 100).passed
    above = judged([20.0] * 98 + [100.1] * 2)
    assert not above.passed
    assert "p99 is above its limit" in above.sentence


def test_a_run_with_more_errors_than_allowed_fails():
    assert judged([20.0] * 99, 1).passed
    breached = judged([20.0] * 98, 2)
    assert not breached.passed
    assert "2 requests failed" in breached.sentence


@pytest.mark.parametrize(("failed", "told"), [(0, "no request was sent"), (100, "every request failed")])
def test_a_run_that_measured_nothing_fails(failed, told):
    result = judged([], failed)
    assert not result.passed
    assert result.error_rate == 1
    assert told in result.sentence


def test_a_run_that_did_not_reach_its_rate_fails_and_says_so():
    result = judged([20.0] * 94)
    assert not result.passed
    assert "only 94% of the wanted rate" in result.sentence
    assert judged([20.0] * 95).passed


def test_several_breaches_are_all_named():
    told = judged([200.0] * 10, 10).sentence
    assert "p99" in told
    assert "10 requests failed" in told
    assert "20% of the wanted rate" in told
