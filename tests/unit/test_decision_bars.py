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
    most_odds,
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

from perch.core.events import FAILED
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


STEP = "S5 errors step to 5 % after promotion"


def judged(asked, *results):
    return {(j.bar.asked, j.bar.engine): j for j in judge(results)}[asked]


def growing(engine, bad_mean, *, promoted=0.0, false=0.0):
    """How an engine did while errors grew, and with good canaries."""
    fault = replace(GOOD, engine=engine, scenario="S5 errors grow to 5 % from 60 to 660 s", bad_mean=bad_mean)
    good = replace(GOOD, engine=engine, scenario="S0 no fault, promoted when proven", rolled_back=false)
    return [replace(fault, rolled_back=1 - promoted, promoted=promoted), good]


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


@pytest.mark.parametrize("failures", [1, 2])
def test_failures_bring_our_bets_no_more_than_the_bound_says_at_any_share(failures):
    family = full_family(champion(), LIVE)
    events = np.zeros(int(family.event.max()) + 1)
    events[FAILED] = failures
    odds = []
    for share in (0.2, 0.01, 0.001, 1e-9):
        counted = Comparable(hits=events, total=events, share=np.full(3, share))
        odds.append(family.harm(family.bet(family.start(1.0), counted)).sum())
    assert odds == sorted(odds)
    assert odds[-1] == pytest.approx(most_odds(failures), rel=1e-5)


def test_not_to_know_the_harm_costs_a_second_failure():
    assert most_odds(1) < 1 / LIVE.alpha <= most_odds(2)
    assert least_failures() == 2


def test_ignorance_costs_what_is_not_bet_on_the_right_ratio():
    assert 0 < exp(-nats_of_ignorance(30.0)) / START_MASS < 1
    assert nats_of_ignorance(30.0) < nats_of_ignorance(2.0)


def test_bad_responses_come_at_a_share_between_the_first_and_the_last():
    assert LIVE.start_weight < share_when_bad(0.05, 100.0) < LIVE.max_weight


def test_what_is_missed_is_explained_by_a_bound_or_by_its_price():
    assert why_above_floor(0.5, 100.0, 1.7).startswith("forbidden to bets that are spread")
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
    kept = (replace(result, bad_mean=3.5) for result in results)
    assert judged(("bad responses at 5 % errors, mean", "perch"), *kept).met


def test_a_bar_that_was_run_in_part_is_never_met_but_may_be_missed():
    asked = ("bad responses at 5 % errors, mean", "perch")
    kept, broken = judged(asked, GOOD), judged(asked, replace(GOOD, bad_mean=4.1))
    assert (kept.met, kept.missed) == (False, False)
    assert (broken.met, broken.missed) == (False, True)


@pytest.mark.parametrize(
    ("asked", "result"),
    [
        ("bad responses at 1 % errors, 2 x Wald's floor", replace(GOOD, scenario="S1 errors 0.1 % to 1 %")),
        ("seconds until constant scores go home", replace(GOOD, scenario="S4 scores constant", median_s=3.0)),
        ("seconds from a step to 5 % errors to the rollback", replace(GOOD, scenario=STEP, median_s=7.0)),
    ],
)
def test_an_engine_that_lets_harm_pass_meets_no_bar_on_it(asked, result):
    assert judged((asked, "perch"), result).met
    for useless in (replace(result, rolled_back=0.9, promoted=0.1), replace(result, rolled_back=0.9, held=0.1)):
        judgement = judged((asked, "perch"), useless)
        assert judgement.missed
        assert judgement.too_few == "only 90.0 % gone home"


def test_a_silent_canary_that_is_held_is_missed_however_little_it_lost():
    silent = [replace(GOOD, scenario="S6 silent canary", rps=rps, rolled_back=0.0, aborted=1.0) for rps in (10, 100)]
    asked = ("requests that a silent canary loses", "perch")
    assert judged(asked, *silent).met
    assert judged(asked, *(replace(result, aborted=0.0, held=1.0) for result in silent)).missed


def test_seconds_until_promotion_count_where_most_are_promoted():
    good = replace(GOOD, scenario="S0 no fault, promoted when proven", rolled_back=0.0, promoted=1.0)
    asked = ("seconds until a good canary is promoted", "perch")
    assert judged(asked, good).met
    judgement = judged(asked, replace(good, promoted=0.3, held=0.7))
    assert (judgement.missed, judgement.too_few) == (True, "only 30.0 % promoted")


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
    assert not judged(asked, *peers, *growing("perch", 4.0, promoted=0.02)).met


def test_the_table_of_bars_says_what_is_missed_and_what_was_not_or_partly_run():
    bar = Bar("bad responses", "perch", [GOOD.key], "bad_mean", most=2.0, why_missed=lambda: "the sky is the limit")
    console = Console(width=200)
    within = replace(GOOD, bad_mean=1.5)
    silent = replace(within, rolled_back=0.5, held=0.5)
    found = [(GOOD, True), (None, False), (within, True), (within, False), (silent, True)]
    judgements = [Judgement(bar, worst, is_whole) for worst, is_whole in found]
    with console.capture() as capture:
        console.print(bars_table(judgements))
    rows = [line for line in capture.get().splitlines() if "bad responses" in line]
    for row, told in zip(rows, ("NO", "not run", "yes", "partly run", "1.5, only 50.0 % gone home"), strict=True):
        assert told in row
    assert missed(judgements) == [
        "bad responses, perch: the sky is the limit.",
        "bad responses, perch: only 50.0 % gone home.",
    ]
