"""Killing the collector and a pod loses no event and counts none twice."""

import pytest

from event_kills import Market, check
from serving_process import free_port

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("seed", [1, 2])
def test_what_joined_is_what_the_client_knows_however_often_collector_and_pod_are_killed(tmp_path, place, seed):
    market = Market(tmp_path, place, free_port(), seed)
    try:
        market.go(8.0)
        assert check(market)
        assert market.kills >= 3
    finally:
        market.close()
