from dataclasses import replace

import pandas as pd
import pytest

from perch.workload.schema import CLICK_LOG
from perch.world import Market, MarketSettings
from perch.world.market import START_S

SMALL = MarketSettings(users=2_000, new_users_per_day=100, ads=100, new_ads_per_day=5)


@pytest.fixture(scope="module")
def log():
    return Market(1).log(days=14, impressions=60_000)


def test_equal_seeds_give_equal_logs():
    first, second = Market(3, SMALL).log(3, 2_000), Market(3, SMALL).log(3, 2_000)
    pd.testing.assert_frame_equal(first, second)
    assert not first.equals(Market(4, SMALL).log(3, 2_000))


def test_a_market_repeats_its_log():
    market = Market(3, SMALL)
    pd.testing.assert_frame_equal(market.log(3, 2_000), market.log(3, 2_000))


def test_the_log_has_every_column_of_its_schema_and_ascending_time(log):
    assert set(CLICK_LOG.columns) <= set(log.columns)
    assert log["time"].is_monotonic_increasing
    assert log["time"].iloc[-1] - log["time"].iloc[0] > 13.5 * 86_400
    assert len(log) == 60_000


def test_about_two_percent_are_clicked(log):
    assert 0.015 < log["click"].mean() < 0.025


def test_clicks_come_after_their_impression_with_the_configured_mean_delay(log):
    delay_s = (log["click_time"] - log["time"])[log["click"] == 1]
    assert (delay_s > 0).all()
    assert 1_500 < delay_s.mean() < 2_100
    assert log["click_time"].notna().equals(log["click"] == 1)


def test_only_clicks_convert(log):
    assert log["conversion"].sum() > 0
    assert not log.loc[log["click"] == 0, "conversion"].any()
    assert (log["value"] > 0).equals(log["conversion"] == 1)


def test_explored_impressions_are_a_tenth_and_clicked_less(log):
    assert 0.09 < log["explored"].mean() < 0.11
    rate = log.groupby("explored")["click"].mean()
    assert rate[1] < rate[0]


def test_a_tenth_of_the_users_makes_most_of_the_traffic(log):
    counts = log["user_id"].value_counts()
    assert counts.iloc[: len(counts) // 10].sum() > 0.3 * len(log)


def test_users_and_ads_keep_arriving(log):
    day = ((log["time"] - log["time"].iloc[0]) // 86_400).astype(int)
    early, late = log[day < 3], log[day > 10]
    for column in ("user_id", "ad_id"):
        assert set(late[column].unique()) - set(early[column].unique())
    assert late["ad_age_days"].min() < 1


def test_a_users_recent_click_rate_is_missing_on_the_first_day_and_known_later(log):
    first_day = log["time"] < log["time"].iloc[0] + 43_200
    assert log.loc[first_day, "user_recent_ctr"].isna().all()
    assert 0.1 < log.loc[~first_day, "user_recent_ctr"].notna().mean() < 0.95


def test_nights_are_quieter_than_evenings(log):
    by_hour = log.groupby(log["hour"].astype(int)).size()
    assert by_hour[20] > 4 * by_hour[3]


def test_live_requests_carry_the_inputs_of_the_log_and_no_sensitive_group():
    market = Market(1, SMALL)
    market.log(2, 1_000)
    request = market.requests(3)[0]
    assert {*request.context, *request.candidates[0]} == set(CLICK_LOG.inputs)
    assert len(request.candidates) == len(request.bids) == len(request.true_ctr) == 8
    assert "true_ctr" not in repr(request)


def test_request_ids_are_never_repeated():
    market = Market(1, SMALL)
    ids = [request.request_id for request in [*market.requests(50), *market.requests(50)]]
    assert len(set(ids)) == 100


def test_live_clicks_follow_the_true_rate_and_the_live_delay():
    market = Market(1, MarketSettings(live_click_delay_s=0.5, mean_ctr=0.1))
    requests = market.requests(20_000)
    clicks = [market.click(request, 0) for request in requests]
    expected = sum(request.true_ctr[0] for request in requests)
    assert abs(sum(click.clicked for click in clicks) - expected) < 5 * expected**0.5
    delays = [click.delay_s for click in clicks if click.clicked]
    assert 0.4 < sum(delays) / len(delays) < 0.6


def test_the_same_request_meets_the_same_luck():
    market = Market(1, SMALL)
    for request in market.requests(100):
        assert market.click(request, 2) == market.click(request, 2)


def test_tastes_that_drift_begin_as_they_were_and_become_others():
    steady, drifting = (Market(3, replace(SMALL, taste_drift=drift)).log(6, 12_000) for drift in (0.0, 0.3))
    first, last = steady["time"] < START_S + 86_400, steady["time"] > START_S + 5 * 86_400
    pd.testing.assert_frame_equal(steady[first], drifting[first])
    assert (steady.loc[last, "ad_id"].astype(str) != drifting.loc[last, "ad_id"].astype(str)).mean() > 0.1
