from dataclasses import replace

import numpy as np
import pytest

from perch.errors import DataError
from perch.pipeline.settings import PipelineSettings
from perch.pipeline.staleness import backtest
from perch.workload.schema import CLICK_LOG
from perch.world import Market, MarketSettings

SMALL = MarketSettings(users=1_000, new_users_per_day=20, ads=60, new_ads_per_day=4, advertisers=15, categories=6)
SETTINGS = PipelineSettings(resamples=50)


def log(drift):
    market = Market(3, replace(SMALL, taste_drift=drift, mean_ctr=0.08))
    return market.log(days=6, impressions=40_000).astype({"click": float, "explored": float})


def test_an_hour_of_age_costs_more_where_tastes_drift():
    drifting, steady = (backtest(log(drift), CLICK_LOG, "logistic", SETTINGS) for drift in (0.5, 0.0))
    assert drifting.loss_per_hour > 0.02
    assert drifting.loss_per_hour_interval.low > 0
    assert steady.loss_per_hour_interval.low < 0.01
    assert drifting.loss_per_hour > 2 * steady.loss_per_hour
    assert drifting.losses[-1] > drifting.losses[0]


def test_the_models_differ_in_age_only():
    found = backtest(log(0.0), CLICK_LOG, "logistic", SETTINGS)
    assert found.ages_h[0] == 0
    assert found.ages_h == pytest.approx((0, found.ages_h[3] / 4, found.ages_h[3] / 2, found.ages_h[3]))
    assert found.rows > 7_000


def test_a_log_whose_times_are_row_numbers_is_refused():
    frame = log(0.0).assign(time=np.arange(40_000) / 1_000, click_time=np.nan)
    frame["click_time"] = frame["time"].where(frame["click"] == 1)
    with pytest.raises(DataError, match="use a longer log, with times in seconds"):
        backtest(frame, CLICK_LOG, "logistic", PipelineSettings(attribution_window_s=1.0, resamples=50))
