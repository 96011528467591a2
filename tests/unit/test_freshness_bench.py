"""The benchmark's market and its ways to decide."""

import numpy as np
import pandas as pd
import pytest
from benchmarks.freshness.market import LiveMarket, Scenario
from benchmarks.freshness.policies import CHOOSERS, ended
from benchmarks.freshness.report import exchange, sentences
from benchmarks.freshness.run import Result

from perch.core.freshness_types import Signals
from perch.errors import DataError
from perch.pipeline.features import prepare
from perch.pipeline.settings import PipelineSettings
from perch.pipeline.train import fit
from perch.workload.schema import CLICK_LOG
from perch.world.settings import MarketSettings

SMALL = MarketSettings(users=500, new_users_per_day=10, ads=40, new_ads_per_day=2, advertisers=8, categories=4, sites=4)
SCENARIO = Scenario(12_000, warm_days=2, live_days=1, broken_h=(2, 14), settings=SMALL)
SETTINGS = PipelineSettings(resamples=20)


@pytest.fixture(scope="module")
def scorer():
    log = LiveMarket(1, SCENARIO).log(0, 48)
    return fit(prepare(log, CLICK_LOG, SETTINGS, data_digest="", kinds=("logistic",)), "logistic", SETTINGS)


@pytest.fixture(scope="module")
def market(scorer):
    market = LiveMarket(1, SCENARIO)
    market.served = [market.serve(hour, scorer) for hour in range(24)]
    return market


def test_equal_seeds_give_equal_markets():
    first, second = (LiveMarket(1, SCENARIO).log(0, 12) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)


def test_choosing_by_the_true_click_rate_loses_nothing_and_a_model_loses_something(market):
    assert all(0 < served.regret < served.clicks_possible for served in market.served)
    assert all(served.divergence > 0 for served in market.served)


def test_who_knows_all_that_columns_tell_loses_less_than_a_model_and_more_than_who_knows_everything(market):
    assert 0 < sum(served.unknowable for served in market.served) < sum(served.regret for served in market.served)


def test_every_candidate_is_scored_once_an_hour(market):
    assert sum(served.scores[i] for served in market.served for i in range(82)) == sum(
        served.impressions for served in market.served
    )


def test_the_log_tells_no_click_before_it_has_come(market):
    log = market.log(1, 24)
    now_s = log["time"].max() // 3_600 * 3_600 + 3_600
    assert not (log["click_time"] > now_s).any()


def test_while_the_feed_is_broken_training_refuses_and_afterwards_all_is_there(market):
    with pytest.raises(DataError, match="the feed of clicks was broken"):
        prepare(market.log(14, 36), CLICK_LOG, SETTINGS, data_digest="", kinds=("logistic",))
    mended = market.log(24, 36)
    prepare(mended, CLICK_LOG, SETTINGS, data_digest="", kinds=("logistic",))
    assert mended["click"].mean() > 0.01


def test_a_schedule_starts_no_second_run_and_never_is_never():
    signals = Signals(version=1)
    starts = {
        name: [hour for hour in range(49) if CHOOSERS[name]().wants(hour, signals)] for name in ("never", "daily")
    }
    assert starts == {"never": [], "daily": [24, 48]}
    assert CHOOSERS["hourly"]().wants(5, Signals(version=1, in_progress="run-4")) is None


def test_the_default_is_the_policy_s_own():
    chooser, signals = CHOOSERS["default"](), Signals(version=1, trained_s=0.0, impressions=1_000, loss_per_hour=0.1)
    starts = [hour for hour in range(48) if chooser.wants(hour, signals)]
    assert starts[0] == 15  # 0.1 T^2 / 2 = 10 clicks


def test_the_end_of_a_run_says_when_it_began():
    assert (ended(5, succeeded=True).began_s, ended(5, succeeded=True).ended_s) == (4 * 3_600, 5 * 3_600)


def result(chooser, regret, runs, divergence=0.0):
    return Result(
        chooser=chooser,
        seed=1,
        regret=regret,
        regret_by_day=(regret,),
        unknowable=10.0,
        clicks_possible=1_000.0,
        divergence=divergence,
        runs=runs,
        refused=0,
        refused_while_broken=3,
        released_while_broken=0,
        loss_per_hour=0.1,
        reasons=(),
    )


@pytest.mark.parametrize(("regret", "runs", "met"), [(49, 10, True), (51, 10, False), (49, 11, False)])
def test_the_bar_is_met_by_regret_and_runs_together(regret, runs, met):
    results = [
        result("never", 100.0, 0, divergence=150.0),
        result("hourly", 20.0, 40, divergence=50.0),
        result("daily", 60.0, 4),
        result("alarms only", 60.0, 4),
        result("default", regret, runs),
    ]
    assert exchange(results) == pytest.approx(0.8)
    bar, saved, unknowable, broken, rate = sentences(results)
    assert bar.startswith("Bar met") == met
    assert saved == f"Training every hour loses 20%; of what that saves, the default saves {(100 - regret) / 80:.0%}."
    assert "10%" in unknowable
    assert "15 runs were refused" in broken
    assert "1.25 nats" in rate


def test_scores_are_probabilities(market, scorer):
    log = market.log(24, 2)
    scores = scorer.predict(scorer.transform.transform_frame(log).values)
    assert np.all((scores > 0) & (scores < 1))
