"""The comparison itself: what it counts, how it sums up, and what it writes."""

import json
from dataclasses import asdict, replace
from io import StringIO

import numpy as np
import pytest
from benchmarks.decisions import report
from benchmarks.decisions.engines import ENGINES
from benchmarks.decisions.guarded import GuardedResult
from benchmarks.decisions.plan import FULL, QUICK, measure
from benchmarks.decisions.rollouts import End
from benchmarks.decisions.run import run
from benchmarks.decisions.scenarios import Scenario, growing_errors, scenarios
from rich.console import Console

from perch.rehearsal.market import Behaviour, Split, Traffic, always

BROKEN = Scenario("S1 broken", Traffic(10.0, canary=always(Behaviour(error_rate=1.0))), harmful=True, duration_s=20)


class Scripted:
    """Rollouts whose ends are known before."""

    def __init__(self, script):
        self.script = script
        self.ends = np.zeros(len(script), dtype=np.int8)
        self.ended_s = np.full(len(script), np.nan)
        self.split = Split.between(np.full(len(script), 1.0))

    def step(self, now_s, served):
        for i, (end, at_s) in enumerate(self.script):
            if now_s == at_s:
                self.ends[i], self.ended_s[i] = end, now_s


def result(script, scenario=BROKEN):
    return run("scripted", lambda _scenario, _replications: Scripted(script), scenario, len(script))


def test_the_shares_say_how_the_rollouts_ended():
    found = result([(End.ROLLED_BACK, 5), (End.PROMOTED, 9), (End.ABORTED, 7), (End.HELD, 1)])
    assert (found.rolled_back, found.promoted, found.aborted, found.held) == (0.25, 0.25, 0.25, 0.25)


def test_the_median_is_of_those_that_went_home():
    assert result([(End.ROLLED_BACK, 4), (End.ABORTED, 8), (End.PROMOTED, 20)]).median_s == 6


def test_the_median_is_of_the_promoted_where_none_went_home():
    assert result([(End.PROMOTED, 4), (End.PROMOTED, 12), (End.HELD, 1)]).median_s == 8


def test_the_median_of_a_good_canary_is_of_the_promoted():
    script = [(End.ROLLED_BACK, 3), (End.PROMOTED, 6), (End.PROMOTED, 8)]
    assert result(script, replace(BROKEN, harmful=False)).median_s == 7
    assert result(script[:1], replace(BROKEN, harmful=False)).median_s == 3


def test_there_is_no_median_where_nothing_ended():
    found = result([(End.HELD, 1)])
    assert found.median_s is None
    assert found.held == 1


def test_bad_responses_count_until_the_end_and_no_longer():
    early, late = (result([(End.ROLLED_BACK, s)] * 400).bad_mean for s in (2, 10))
    assert early == pytest.approx(20, rel=0.1)
    assert late == pytest.approx(100, rel=0.1)


def test_the_95th_percentile_is_that_of_a_replication():
    half = result([(End.ROLLED_BACK, 1)] * 90 + [(End.ROLLED_BACK, 20)] * 10)
    assert half.bad_p95 > 150 > half.bad_mean


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_ends_each_rollout_once_and_always_the_same(name):
    scenario = next(s for s in QUICK.scenarios().values() if s.name == "S1 errors 0.1 % to 5 %")
    short = replace(scenario, duration_s=700)
    once, again = (run(name, ENGINES[name], short, 8) for _ in range(2))
    assert once == again
    assert once.rolled_back + once.promoted + once.aborted + once.held == 1


def test_scenarios_have_names_of_their_own_that_begin_with_their_number():
    names = [scenario.key for scenario in scenarios()]
    assert len(names) == len(set(names))
    numbers = {name.split()[0] for name in names}
    assert numbers == {"S0", "S1", "S2", "S4", "S5", "S6", "S7", "S9", "S10"}


def test_no_fault_is_watched_for_an_hour_at_each_rate():
    watched = [s for s in FULL.scenarios().values() if s.name == "S0 no fault"]
    assert [s.traffic.rps for s in watched] == [1, 10, 100, 1000]
    assert all(s.duration_s == 3600 and not s.promotion and not s.harmful for s in watched)
    assert all(FULL.replications(s) >= 1000 for s in watched)


def test_without_a_fault_the_arms_answer_alike():
    for scenario in (s for s in scenarios() if not s.harmful and not s.name.startswith("S10")):
        for now_s in (0.0, 150.0, 900.0, 2700.0):
            assert scenario.traffic.canary(now_s) == scenario.traffic.stable(now_s), scenario.name


def test_errors_grow_linearly():
    assert [growing_errors(t).error_rate for t in (0.0, 60.0, 360.0, 660.0, 3000.0)] == pytest.approx(
        [0.001, 0.001, 0.0255, 0.05, 0.05]
    )


def test_the_quick_plan_is_a_part_of_the_full_one():
    assert set(QUICK.scenarios()) < set(FULL.scenarios())
    assert all(scenario.duration_s <= QUICK.longest_s for scenario in QUICK.scenarios().values())


def test_a_job_is_an_engine_in_a_scenario():
    found = measure((QUICK, "sagemaker", "S6 no traffic, 0 rps"))
    assert (found.engine, found.scenario, found.rps) == ("sagemaker", "S6 no traffic", 0)
    assert (found.replications, found.promoted, found.median_s, found.bad_mean) == (QUICK.harmless, 1, 600, 0)


def test_the_file_is_a_list_with_one_object_a_result(tmp_path):
    path = tmp_path / "results" / "decisions.json"
    report.write([result([(End.HELD, 1)]), result([(End.ROLLED_BACK, 3)])], path)
    objects = json.loads(path.read_text())
    assert [o["rolled_back"] for o in objects] == [0, 1]
    assert list(objects[0]) == [
        *("engine", "scenario", "rps", "replications", "seed", "rolled_back", "promoted", "aborted", "held"),
        *("median_s", "bad_mean", "bad_p95"),
    ]
    assert [p.name for p in path.parent.iterdir()] == ["decisions.json"]


def test_what_has_no_field_there_stands_in_a_file_of_its_own(tmp_path):
    home = GuardedResult(**asdict(result([(End.ROLLED_BACK, 3)])), alarmed=1.0, soft_median_s=2.0, kept=0.0)
    held = GuardedResult(**asdict(result([(End.HELD, 1)])), alarmed=0.0, soft_median_s=None, kept=1.0)
    report.write([home], tmp_path / "decisions.json")
    report.write([home], tmp_path / "guard.json", GuardedResult)
    plain, own = (json.loads((tmp_path / name).read_text())[0] for name in ("decisions.json", "guard.json"))
    assert own == plain | {"alarmed": 1.0, "soft_median_s": 2.0, "kept": 0.0}
    console = Console(width=200, record=True, file=StringIO())
    console.print(report.guarded_table([home, held]))
    assert "100.0% 3 s" in console.export_text()


def printed(script, scenario):
    console = Console(width=200, record=True, file=StringIO())
    for table in report.tables([result(script, scenario)], {scenario.key: scenario}, ["scripted"]):
        console.print(table)
    return console.export_text()


def test_the_tables_tell_false_rollbacks_from_right_ones():
    script = [(End.ROLLED_BACK, 5)] * 3 + [(End.PROMOTED, 6)]
    wrong = printed(script, replace(BROKEN, harmful=False)).split("Bad canaries")[0]
    right = printed(script, BROKEN).split("Bad canaries")[1]
    assert "75.0%" in wrong
    assert "75% 5 s" in right


def test_the_tables_mark_where_a_bad_canary_was_promoted():
    assert ")*" in printed([(End.PROMOTED, 6)], BROKEN)
    assert ")*" not in printed([(End.ROLLED_BACK, 6)], BROKEN)
