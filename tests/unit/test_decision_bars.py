"""The bars: what they demand, when they count as missed, and what is said then."""

from dataclasses import replace
from math import exp, log

import numpy as np
import pytest
from benchmarks.decisions.bars import Bar, Judgement, bars, judge
from benchmarks.decisions.bounds import (
    canary_part,
    largest_jump,
    least_failures,
    nats_of_ignorance,
    nats_per_failure,
    share_when_bad,
    wald_floor,
    why_above_floor,
)
from benchmarks.decisions.perch import LIVE, champion
from benchmarks.decisions.report import bars_table, missed
from benchmarks.decisions.run import Result
from benchmarks.decisions.scenarios import after_promotion, scenarios
from rich.console import Console

from perch.core.evidence import Comparable, full_family
from perch.core.weighing import START_MASS

GOOD = Result(
    engine="perch",
    scenario="S1 errors 0.1 % to 5 %",
    rps=100.0,
    replications=1000,
    seed=1,
    rolled_back=1.0,
    promoted=0.0,
    aborted=0.0,
    held=0.0,
    median_s=40.0,
    bad_mean=3.0,
    bad_p95=5.0,
)


def judged(asked, *results):
    return {(j.bar.asked, j.bar.engine): j for j in judge(results)}[asked]


def growing(engine, bad_mean, *, promoted=0.0, false=0.0):
    """How an engine did while errors grew, and with good canaries."""
    fault = replace(GOOD, engine=engine, scenario="S5 errors grow to 5 % from 60 to 660 s", bad_mean=bad_mean)
    good = replace(GOOD, engine=engine, scenario="S0 no fault, promoted when proven", rolled_back=false)
    return [replace(fault, promoted=promoted), good]


@pytest.mark.parametrize(("error_rate", "floor"), [(0.01, 3.27), (0.05, 1.56), (0.5, 0.83)])
def test_the_floors_are_those_of_walds_formula(error_rate, floor):
    assert wald_floor(error_rate) == pytest.approx(floor, abs=0.005)


def test_a_failure_adds_on_average_what_the_likelihood_ratio_says():
    share, ratio = 0.05, 10.0
    at_fault, tolerated = canary_part(share, ratio), canary_part(share, LIVE.tolerated_ratio)
    rng = np.random.default_rng(0)
    is_canary = rng.random(200_000) < at_fault
    gained = np.where(is_canary, log(at_fault / tolerated), log((1 - at_fault) / (1 - tolerated)))
    assert gained.sum() / is_canary.sum() == pytest.approx(nats_per_failure(share, ratio), rel=0.02)
    assert gained.max() == pytest.approx(largest_jump(share, ratio))


def test_no_bet_of_the_core_gains_more_from_a_failure_than_the_bound_says():
    share = LIVE.start_weight
    events = np.zeros(len(full_family(champion(), LIVE).event))
    events[0] = 1.0
    one = Comparable(hits=events, total=events, share=np.full(3, share))
    most = full_family(champion(), LIVE).increments(one).max()
    assert 0 < most < -log(canary_part(share, LIVE.tolerated_ratio)) < log(1 / LIVE.alpha)
    assert least_failures(share) == 2
    assert least_failures(share / 2) == 1


def test_ignorance_costs_what_is_not_bet_on_the_right_ratio():
    assert 0 < exp(-nats_of_ignorance(30.0)) / START_MASS < 1
    assert nats_of_ignorance(30.0) < nats_of_ignorance(2.0)


def test_bad_responses_come_at_a_share_between_the_first_and_the_last():
    assert LIVE.start_weight < share_when_bad(0.05, 100.0) < LIVE.max_weight


def test_what_is_missed_is_explained_by_a_bound_or_by_its_price():
    assert why_above_floor(0.5, 100.0, 1.7).startswith("forbidden by the start at 1% of the traffic")
    assert why_above_floor(0.05, 100.0, 3.1).startswith("no bound known")


def test_each_bar_is_about_scenarios_that_exist():
    known = {scenario.key for scenario in (*scenarios(), *after_promotion())}
    asked = {key for bar in bars(growing("sagemaker", 27.0)) for key in bar.scenarios}
    assert all(key.startswith("S3") for key in asked - known)


def test_the_worst_scenario_of_a_bar_counts():
    results = [replace(GOOD, rps=rps, bad_mean=bad) for rps, bad in ((10.0, 3.5), (100.0, 4.1), (1000.0, 3.0))]
    judgement = judged(("bad responses at 5 % errors, mean", "perch"), *results)
    assert judgement.worst.rps == 100
    assert not judgement.met
    assert judged(("bad responses at 5 % errors, mean", "perch"), results[0]).met


def test_what_was_not_run_is_not_met():
    judgement = judged(("bad responses at 5 % errors, mean", "perch-shadow"), GOOD)
    assert (judgement.worst, judgement.figure, judgement.met) == (None, None, False)
    assert missed([judgement]) == []


def test_a_bar_without_a_figure_is_missed():
    never = replace(GOOD, scenario="S4 scores constant", median_s=None)
    judgement = judged(("seconds until constant scores go home", "perch"), never)
    assert judgement.worst is never
    assert not judgement.met


def test_a_good_canary_that_is_sent_home_is_rolled_back_whatever_it_is_called():
    aborted = replace(GOOD, scenario="S0 no fault", rolled_back=0.005, aborted=0.006, held=0.989)
    assert not judged(("good canaries rolled back", "perch"), aborted).met


def test_some_figures_must_not_be_too_small():
    found = replace(GOOD, engine="perch-shadow", scenario="S1 errors 0.1 % to 1 %", rps=1.0, rolled_back=0.94)
    asked = ("1 % errors found at 1 rps", "perch-shadow")
    assert not judged(asked, found).met
    assert judged(asked, replace(found, rolled_back=0.95)).met


def test_slow_degradation_is_measured_by_the_best_peer_that_needs_a_fault_to_act():
    peers = [
        *growing("sagemaker", 27.0),
        *growing("argo-1m", 118.0),
        *growing("z-test", 4.0, false=0.4),
        *growing("flagger-10s-x2", 8.0, promoted=0.98),
    ]
    asked = ("bad responses while errors grow, as sagemaker", "perch")
    assert judged(asked, *peers, *growing("perch", 26.9)).met
    assert not judged(asked, *peers, *growing("perch", 27.1)).met


def test_the_table_of_bars_says_what_is_missed_and_what_was_not_run():
    bar = Bar("bad responses", "perch", [GOOD.key], "bad_mean", most=2.0, why_missed=lambda: "the sky is the limit")
    console = Console(width=200)
    with console.capture() as capture:
        console.print(bars_table([Judgement(bar, GOOD), Judgement(bar, None)]))
    rows = [line for line in capture.get().splitlines() if "bad responses" in line]
    assert "NO" in rows[0]
    assert "not run" in rows[1]
    assert missed([Judgement(bar, GOOD)]) == ["bad responses: the sky is the limit."]
