"""`perch policy backtest` and `perch rollout history`: what they say of ledgers, and what they refuse."""

import json
from dataclasses import replace

import pytest

from core_market import Version
from perch import errors
from perch.core import Policy
from perch.rollout import running as running_module
from perch.settings import ModelService, Spec, to_yaml
from recorded import recorded
from service_world import FAST


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    monkeypatch.setattr(running_module, "_DRAIN_S", 0.0)
    return recorded(tmp_path, Version(error_rate=0.02), replace(FAST, shadow=False))


def declare(folder, **policy):
    service = ModelService(spec=Spec(policy=replace(FAST, shadow=False, **policy)))
    (folder / "other.yaml").write_text(to_yaml(service))


# --- backtest -------------------------------------------------------------------------------------------------------


def test_a_ledger_is_checked_by_its_name_or_its_path(perch, ledger):
    said = perch("policy", "backtest", "v2-1")
    ticks = ledger.read_text().count('"kind": "tick"')
    assert said == (0, f"Every decision the same, {ticks} of {ticks}.\n")
    copy = ledger.rename(ledger.parents[3] / "elsewhere.jsonl")
    assert perch("policy", "backtest", str(copy)) == said


def test_another_policy_is_told_in_a_table_and_a_sentence(perch, ledger):
    code, said = perch("policy", "backtest", "v2-1", "--set", "alpha=0.2", "--set", "rampIntervalS=1")
    assert code == 0
    lines = said.splitlines()
    assert lines[0] == "v2-1 with alpha 0.2 (was 0.01), rampIntervalS 1.0 (was 2.0)"
    turns = [line.split()[0] for line in lines if " recorded " in line[:30] or " tried " in line[:30]]
    assert turns == ["first", "first", "ends", "ends"]
    assert "from tick" in lines[-1]
    assert "is a guess" in lines[-1]
    assert "it is rolled back after" in lines[-1]


def test_what_the_record_cannot_tell_of_the_policy_is_said_at_the_end(perch, ledger):
    code, said = perch("policy", "backtest", "v2-1", "--set", "labels=watched", "--set", "rollbackLimit=9")
    assert code == 0
    assert said.splitlines()[-1].endswith(
        " Labels are not tried: none were recorded. rollbackLimit and rollbackWindowS are not tried: they are not part"
        " of a rollout."
    )


def test_a_declaration_gives_the_policy_and_settings_go_on_top(perch, ledger, tmp_path):
    declare(tmp_path, alpha=0.2)
    by_file = perch("policy", "backtest", "v2-1", "--file", "other.yaml")
    assert by_file == perch("policy", "backtest", "v2-1", "--set", "alpha=0.2")
    assert by_file[0] == 0
    declare(tmp_path, bake_s=99.0)
    code, said = perch("policy", "backtest", "v2-1", "--file", "other.yaml", "--set", "bakeS=10")
    assert (code, said[:13]) == (0, "Every decisio")


def test_a_policy_that_changes_no_deed_says_so(perch, ledger):
    code, said = perch("policy", "backtest", "v2-1", "--set", "guardS=3")
    assert code == 0
    assert "Every decision the same" in said.splitlines()[-1]


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("alpha", "is no setting. Write it as key=value"),
        ("=3", "is no setting"),
        ("alphaa=0.1", "spec.policy.alphaa: unknown key"),
        ("ramp_interval_s=3", "spec.policy.ramp_interval_s: unknown key"),
        ("alpha=2", "alpha is 2; it must lie between 1e-09 and 0.5"),
        ("alpha=nan", "alpha is nan; it must lie between"),
        ("alpha=", "spec.policy.alpha:"),
        ("shadow=perhaps", "spec.policy.shadow:"),
        ("startWeight=0.5", None),
        ("labels=watched", None),
    ],
)
def test_a_setting_is_read_as_a_declaration_spells_it(perch, ledger, setting, says):
    code, said = perch("policy", "backtest", "v2-1", "--set", setting)
    assert code == (errors.UsageError.exit_code if says else 0)
    assert (says or "v2-1 with") in said


def test_a_declaration_that_is_missing_is_a_mistake_in_the_declaration(perch, ledger):
    assert perch("policy", "backtest", "v2-1", "--file", "nowhere.yaml")[0] == errors.DeclarationError.exit_code


def test_an_unknown_ledger_is_told_with_the_known_ones(perch, ledger):
    code, said = perch("policy", "backtest", "v9-1")
    assert code == errors.UsageError.exit_code
    assert said == "perch: There is no rollout v9-1. Recorded, oldest first: v2-1.\n"


def test_a_ledger_of_another_schema_is_refused(perch, ledger):
    ledger.write_text(ledger.read_text().replace('"schema": 2', '"schema": 3'))
    code, said = perch("policy", "backtest", "v2-1")
    assert code == errors.RolloutError.exit_code
    assert "was written by Perch with ledger schema 3; this one reads 2" in said


def test_a_last_line_that_was_cut_short_is_left_out_and_told(perch, ledger):
    whole = ledger.read_text()
    ledger.write_text(whole[:-20])
    code, said = perch("policy", "backtest", "v2-1")
    ticks = whole.count('"kind": "tick"') - 1
    assert code == 0
    assert "was cut short by a crash; it is left out" in said
    assert f"Every decision the same, {ticks} of {ticks}." in said


def test_a_record_that_does_not_replay_fails_the_check(perch, ledger):
    ledger.write_text(ledger.read_text().replace('"verdict":1', '"verdict":0', 1))
    code, said = perch("policy", "backtest", "v2-1")
    assert code == errors.PerchError.exit_code
    assert "does not replay" in said


# --- history and stories --------------------------------------------------------------------------------------------


def test_the_history_is_a_table_for_a_person_and_json_for_a_program(perch, ledger):
    code, said = perch("rollout", "history")
    assert code == 0
    head, row = said.splitlines()[0], said.splitlines()[1]
    assert head.split()[:2] == ["rollout", "version"]
    assert row.split()[:2] == ["v2-1", "2"]
    assert "roll_back" in row
    (told,) = json.loads(perch("rollout", "history", "--json")[1])
    assert (told["name"], told["version"], told["champion"], told["retry_of"]) == ("v2-1", 2, 1, None)
    assert (told["outcome"], told["cause"]) == ("roll_back", "harm")
    assert 0 < told["bad"] <= told["live"]
    assert told["sentence"].startswith("Rolled back: the canary failed")


def test_a_rollout_in_progress_is_told_from_one_that_was_broken_off(perch, ledger):
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(lines[:-1]))
    assert "in progress" in perch("rollout", "history")[1]
    later = ledger.parents[1] / "v2-2" / "ledger.jsonl"
    later.parent.mkdir()
    begin = json.loads(lines[0])
    begin["attempt"] |= {"name": "v2-2", "retry_of": "v2-1"}
    begin["attempt"]["state"]["started_s"] += 500
    later.write_text(json.dumps(begin) + "\n")
    said = perch("rollout", "history")[1]
    assert "in progress" in said
    assert "broken off" in said
    assert perch("why")[1].startswith("Rollout v2-2, a retry of v2-1: version 2")
    assert perch("why", "v2-1")[1].startswith("Rollout v2-1: version 2")


def test_a_ledger_that_cannot_be_read_is_told_beside_the_others(perch, ledger):
    other = ledger.parents[1] / "v3-1" / "ledger.jsonl"
    other.parent.mkdir()
    other.write_text("no ledger\n")
    code, said = perch("rollout", "history")
    assert code == 0
    assert "v2-1" in said
    assert "v3-1/ledger.jsonl is no ledger" in said
    assert perch("why", "v3-1")[0] == errors.RolloutError.exit_code


def test_without_rollouts_the_history_says_how_to_begin_one(perch):
    assert perch("rollout", "history") == (0, "No rollout can be told. Begin one with: perch rollout start\n")
    assert perch("rollout", "history", "--json") == (0, "[]\n")


def test_the_defaults_can_be_tried_on_any_record(perch, ledger, tmp_path):
    (tmp_path / "perch.yaml").write_text(to_yaml(ModelService(spec=Spec(policy=Policy()))))
    assert perch("policy", "backtest", "v2-1", "-f", "perch.yaml")[0] == 0
