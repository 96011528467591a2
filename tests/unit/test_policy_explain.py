"""`perch policy explain`: what it rehearses, within what time, what it says and what it refuses."""

import json
from dataclasses import replace
from math import inf

import numpy as np
import pytest

from perch import errors
from perch.core import Policy, Slo
from perch.core.policy import Labels
from perch.rehearsal import explain as explain_module
from perch.rehearsal.explain import FAULTS, MOST, by_counts, explain
from perch.rehearsal.rehearse import Outcome
from perch.rehearsal.sentences import sentences
from perch.settings import ModelService, Spec, to_yaml

SLO = Slo(latency_p99_ms=50.0)
QUICK = Policy(shadow_s=5.0, bake_s=15.0, margin=0.02, guard_s=60.0)


@pytest.fixture(scope="module")
def quick():
    return explain(QUICK, SLO, 100.0, 5)


@pytest.fixture
def declaration(tmp_path):
    def declare(name="perch.yaml", **policy):
        spec = Spec(slo=SLO, policy=replace(QUICK, **policy))
        (tmp_path / name).write_text(to_yaml(ModelService(spec=spec)))

    declare()
    return declare


def told(cost):
    return dict(sentence.split(": ", 1) for sentence in sentences(cost))


# --- what is rehearsed ----------------------------------------------------------------------------------------------


def test_every_fault_is_rehearsed_mirrored_and_live_from_gross_to_subtle(quick):
    stages = [(harm.fault, harm.mirrored) for harm in quick.harms]
    assert stages == [(fault, mirrored) for fault in FAULTS for mirrored in (True, False)]
    assert {harm.replications for harm in quick.harms} == {quick.good.replications} == {5}


def test_a_policy_without_shadow_is_rehearsed_live_only():
    cost = explain(replace(QUICK, shadow=False), SLO, 100.0, 2)
    assert {harm.mirrored for harm in cost.harms} == {False}
    assert "live after" not in told(cost)["Promotion"]
    assert cost.good.live_s == 0


def test_gross_faults_are_found_at_once_and_never_seen_in_the_shadow(quick):
    by_case = {(harm.fault, harm.mirrored): harm for harm in quick.harms}
    for fault in ("errors to 50 %", "silent canary", "constant scores", "errors to 5 %"):
        mirrored, live = by_case[fault, True], by_case[fault, False]
        assert (mirrored.found, mirrored.bad_mean) == (1, 0)
        assert live.found == 1
        assert mirrored.home_s < live.home_s


def test_the_fault_after_promotion_comes_in_the_middle_of_a_short_guard(quick):
    late = quick.late_harm
    assert (late.quiet_s, late.replications + late.false_alarms) == (30.0, round(5 * quick.good.promoted))
    assert late.found == 1
    assert 0 < late.alarmed_s <= late.home_s < 30


def test_the_same_question_has_the_same_answer(quick):
    assert explain(QUICK, SLO, 100.0, 5) == quick


def test_where_nobody_is_promoted_there_is_nothing_to_guard(monkeypatch):
    monkeypatch.setattr(explain_module, "LIMIT_S", 10.0)
    cost = explain(QUICK, SLO, 100.0, 2)
    assert cost.late_harm is None
    assert told(cost)["After promotion"].startswith("no good canary was promoted in time")
    assert told(cost)["Promotion"].startswith("0 % of good canaries are promoted within 3,600 s")


def test_a_guard_that_is_over_too_soon_is_told_by_what_it_finds():
    said = told(explain(replace(QUICK, guard_s=0.0), SLO, 100.0, 2))["After promotion"]
    assert "the version comes home in 0 % (guardS, 0 s)" in said


@pytest.mark.parametrize(
    ("labels", "judge", "part"),
    [(Labels.IGNORED, False, 1.0), (Labels.WATCHED, False, 0.7), (Labels.REQUIRED, True, 0.6)],
)
def test_counts_keep_to_their_part_of_the_error_probability(labels, judge, part):
    policy = replace(QUICK, labels=labels, external_judge=judge, require_approval=True, warm_up_requests=9)
    tried = by_counts(policy)
    assert tried.alpha == pytest.approx(part * policy.alpha)
    assert tried.freeze_e_value == pytest.approx(policy.freeze_e_value / part)
    assert (tried.labels, tried.external_judge) == (Labels.IGNORED, False)
    assert (tried.require_approval, tried.warm_up_requests) == (False, 0)
    assert by_counts(replace(policy, alpha=1e-9, freeze_e_value=1e9)).alpha == 1e-9


# --- within what time -----------------------------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch):
    """A machine on which each rollout takes so many seconds; says what a figure rests on, and how long all took."""

    def run(seconds_a_rollout):
        now_s, sizes = [0.0], []

        def rehearse(states, *_arguments, **_options):
            now_s[0] += seconds_a_rollout * len(states)
            sizes.append(len(states))
            never = np.full(len(states), inf)
            return Outcome(*[never] * 7, bad=np.zeros(len(states), np.int64)), list(states)

        monkeypatch.setattr(explain_module, "monotonic", lambda: now_s[0])
        monkeypatch.setattr(explain_module, "rehearse", rehearse)
        cost = explain(QUICK, SLO, 100.0)
        return [cost.good.replications, *(harm.replications for harm in cost.harms)], now_s[0], sizes

    return run


def test_a_fast_machine_rehearses_as_much_as_is_of_use(machine):
    replications, took_s, _ = machine(0.0001)
    assert set(replications) == {MOST}
    assert took_s < 1


def test_a_slower_one_rehearses_as_much_as_fits_into_the_time(machine):
    replications, took_s, _ = machine(0.02)
    assert all(10 <= n < MOST for n in replications)
    assert 8 < took_s < 15


def test_the_slowest_still_rehearses_a_few(machine):
    replications, _, sizes = machine(5.0)
    assert set(replications) == set(sizes) == {10}


# --- what it says ---------------------------------------------------------------------------------------------------


def test_the_sentences_have_the_figures_and_the_settings_that_they_are_owed_to(quick):
    said = told(quick)
    assert said["False rollbacks"].endswith(f"Seen: {quick.good.false_rollbacks} of 5.")
    assert "at most 1 % are found to harm (alpha: until promotion, every look;" in said["False rollbacks"]
    assert "each confirmation by the guard has an alpha of its own" in said["False rollbacks"]
    assert "at most 0.2 % come home for a wrong split" in said["False rollbacks"]
    assert f"promoted after {quick.good.promoted_s:.0f} s" in said["Promotion"]
    assert "What it waits for last: " in said["Promotion"]
    assert (
        "when 5 % of the requests begin to fail after 30 s, 75 % of the traffic is on the safe side"
        in said["After promotion"]
    )
    assert "once in 7 days (guardQuietS)" in said["After promotion"]


def test_what_is_missed_is_said(quick):
    harms = tuple(
        replace(harm, found=0.4, promoted=0.6) if harm.fault == "errors to 1 %" else harm for harm in quick.harms
    )
    all_found = tuple(replace(harm, found=1.0) for harm in quick.harms)
    assert (
        "errors to 1 % live: 40 %, and 60 % promoted"
        in told(replace(quick, harms=harms))["Not always found within 3,600 s"]
    )
    assert any(
        line.startswith("Every fault of the table is found in 95 % and more.")
        for line in sentences(replace(quick, harms=all_found))
    )


@pytest.mark.parametrize("waited", ["shadow", "bake", "ramp", "requests", "proof", "data"])
def test_every_setting_that_may_hold_a_promotion_up_has_a_name(quick, waited):
    cost = replace(quick, good=replace(quick.good, waited_for={waited: 1.0}, shadow_outlasted=1.0))
    said = told(cost)["Promotion"]
    names = {"shadow": "shadowS", "bake": "bakeS", "ramp": "harmBudget", "requests": "minRequests", "proof": "margin"}
    names["data"] = "noDataTimeoutS"
    assert names[waited] in said.partition("last: ")[2]
    assert "the shadow stage outlasts shadowS (5 s)" in said


def test_what_is_not_rehearsed_is_said(quick):
    policy = replace(QUICK, labels=Labels.REQUIRED, external_judge=True, require_approval=True, warm_up_requests=50)
    said = told(replace(quick, policy=policy))["Not rehearsed"]
    for word in ("labels", "externalJudge", "requireApproval", "the first 50"):
        assert word in said
    assert "Not rehearsed" not in told(quick)


# --- the command ----------------------------------------------------------------------------------------------------


def explained(perch, *options):
    return perch("policy", "explain", "--replications", "2", *options)


def test_the_declared_policy_is_told_in_sentences_and_a_table(perch, declaration):
    code, said = explained(perch)
    assert code == 0
    lines = said.splitlines()
    assert lines[0].startswith("At 100 requests/s")
    assert "within 30 ms, 60 % of the SLO" in lines[0]
    assert sum(line.lstrip().startswith(tuple(FAULTS)) for line in lines) == 2 * len(FAULTS)


def test_two_policies_stand_side_by_side(perch, declaration):
    declaration("other.yaml", shadow=False, alpha=0.02)
    code, said = explained(perch, "--set", "bakeS=20", "--against", "other.yaml")
    assert code == 0
    assert "\nperch.yaml bakeS=20\n" in said
    assert "\nother.yaml (alpha 0.02, shadow False, bakeS 15.0)\n" in said
    rows = [line.split() for line in said.splitlines() if line.startswith(" errors to 50 %")]
    assert [(row[4], row[-1]) for row in rows] == [
        ("mirrored", "bakeS=20"),
        ("live", "bakeS=20"),
        ("live", "other.yaml"),
    ]


def test_a_guard_that_rings_in_all_before_the_fault_is_told_by_its_false_alarms(perch, declaration):
    code, said = explained(perch, "--set", "guardQuietS=1", "--set", "guardS=3600")
    assert code == 0
    (line,) = [line for line in said.splitlines() if line.startswith("- After promotion")]
    assert line == (
        "- After promotion: A false alarm is wanted once in 1 s (guardQuietS); 2 of 2 rang in the quiet time before."
    )


def test_a_policy_with_more_than_counts_is_rehearsed_by_its_counts(perch, declaration):
    settings = ("labels=required", "externalJudge=true", "warmUpRequests=50", "requireApproval=true")
    code, said = explained(perch, *(word for setting in settings for word in ("--set", setting)))
    assert code == 0
    (line,) = [line for line in said.splitlines() if line.startswith("- Not rehearsed")]
    assert all(setting.partition("=")[0] in line for setting in settings)


def test_a_program_reads_json(perch, declaration):
    code, said = explained(perch, "--json", "--rps", "50", "--against", "default")
    assert code == 0
    mine, default = json.loads(said)
    assert (mine["name"], default["name"]) == ("perch.yaml", "default")
    assert (mine["rps"], mine["policy"]["shadow_s"], default["policy"]["shadow_s"]) == (50.0, 5.0, 60.0)
    assert mine["slo"] == default["slo"]
    assert len(mine["harms"]) == 2 * len(FAULTS)
    assert mine["good"]["replications"] == 2


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        (("--rps", "0"), errors.UsageError, "--rps 0 is no traffic to rehearse"),
        (("--rps", "-1"), errors.UsageError, "It must lie above 0 and up to 100,000"),
        (("--rps", "nan"), errors.UsageError, "--rps nan"),
        (("--rps", "100001"), errors.UsageError, "--rps 100001"),
        (("--replications", "0"), errors.UsageError, "--replications 0 cannot be had"),
        (("--set", "alphaa=0.1"), errors.UsageError, "spec.policy.alphaa: unknown key"),
        (("--set", "alpha"), errors.UsageError, "--set alpha is no setting"),
        (("--file", "nowhere.yaml"), errors.DeclarationError, "There is no declaration at nowhere.yaml"),
        (("--against", "nowhere.yaml"), errors.DeclarationError, "There is no declaration at nowhere.yaml"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_sentence(perch, declaration, options, error, says):
    code, said = perch("policy", "explain", *options)
    assert code == error.exit_code
    assert says in said
    assert said.startswith("perch: ")
