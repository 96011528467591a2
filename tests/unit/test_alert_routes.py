"""Who is told of which alert, which alerts mute which, and that the chart's AlertmanagerConfig says the same."""

import re
import shutil
import subprocess

import pytest
import yaml

from alert_routes import ALERTS, PLAIN, ROUTES, SERVICE, mutes, reached
from markdown_blocks import ROOT

every_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: f"{alert['alertname']}-{alert['severity']}")
needs_amtool = pytest.mark.skipif(shutil.which("amtool") is None, reason="Alertmanager's amtool is not on the PATH.")


def muted_by(name, severity):
    """The alerts, by name and severity, of which nobody is told while this one fires for the same service."""
    one = next(alert for alert in ALERTS if (alert["alertname"], alert["severity"]) == (name, severity))
    pairs = ((rule, other) for rule in ROUTES["inhibit_rules"] for other in ALERTS)
    return {(other["alertname"], other["severity"]) for rule, other in pairs if mutes(rule, one, other)}


@every_alert
def test_what_is_critical_is_a_page_and_what_is_not_a_ticket(alert):
    assert reached(ROUTES["route"], alert) == [{"critical": "page", "warning": "ticket"}[alert["severity"]]]


def test_what_is_not_perchs_reaches_nobody_unless_it_asks_for_a_training():
    alert = {"alertname": "DiskFull", "severity": "critical"}
    assert reached(ROUTES["route"], alert) == ["nobody"]
    assert reached(ROUTES["route"], alert | {"retrain": "yes"}) == ["training"]
    assert reached(ROUTES["route"], ALERTS[0] | {"retrain": "yes"}) == ["training", "page"]


def test_receivers_are_those_that_routes_lead_to_and_nobody_is_told_by_default():
    def named(route):
        return {route["receiver"]}.union(*(named(child) for child in route.get("routes", ())))

    assert ROUTES["receivers"] == [{"name": name} for name in ("nobody", "page", "ticket", "training")]
    assert named(ROUTES["route"]) == {receiver["name"] for receiver in ROUTES["receivers"]}


@every_alert
def test_an_alert_is_muted_only_by_one_of_its_own_service_and_a_page_only_by_a_page(alert):
    for rule in ROUTES["inhibit_rules"]:
        for other in ALERTS:
            if mutes(rule, other, alert):
                assert (alert["severity"], other["severity"]) != ("critical", "warning"), other
                assert set(SERVICE) <= set(rule["equal"])
                assert not any(mutes(back, alert, other) for back in ROUTES["inhibit_rules"]), other


def test_a_rule_that_mutes_names_alerts_that_there_are():
    names = {alert["alertname"] for alert in ALERTS}
    for rule in ROUTES["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            if (named := re.fullmatch(r'alertname =~? "(.*)"', matcher)) and named[1] != "Perch.+":
                stems = re.sub(
                    r"(\w+)\(([^)]*)\)(\w*)", lambda m: "|".join(m[1] + x + m[3] for x in m[2].split("|")), named[1]
                )
                assert set(stems.split("|")) <= names


def test_what_explains_others_mutes_them():
    burns = {("PerchErrorBudgetBurns", "warning"), ("PerchLatencyBudgetBurns", "warning")}
    judged = {("PerchModelDecays", "warning"), ("PerchModelMiscalibrated", "warning")}
    assert muted_by("PerchErrorBudgetBurns", "critical") == {("PerchErrorBudgetBurns", "warning")}
    canary = {("PerchErrorBudgetBurns", "critical"), ("PerchErrorBudgetBurns", "warning")}
    assert muted_by("PerchCanaryFails", "critical") == canary
    assert muted_by("PerchFallbackServes", "critical") == burns | judged | {("PerchModelStale", "warning")}
    assert muted_by("PerchServiceUnmeasured", "warning") == burns
    assert muted_by("PerchServiceNotReady", "critical") == burns | {("PerchRolloutHeld", "warning")}
    assert muted_by("PerchLabelsMissing", "warning") == judged
    assert muted_by("PerchTrainingFails", "warning") == {("PerchModelStale", "warning")}
    assert muted_by("PerchInputDrifts", "warning") == {
        ("PerchAttributionDrifts", "warning"),
        ("PerchColumnDrifts", "warning"),
    }
    assert muted_by("PerchOverloaded", "warning") == set()


def test_the_charts_object_has_the_same_routes_in_its_own_words():
    rendered = ROOT / "manifests" / "components" / "kube-prometheus-stack" / "perch.yaml"
    objects = yaml.safe_load_all(rendered.read_text(encoding="utf-8"))
    (spec,) = [one["spec"] for one in objects if one and one["kind"] == "AlertmanagerConfig"]
    words = {"inhibitRules": "inhibit_rules", "sourceMatch": "source_matchers", "targetMatch": "target_matchers"}

    def plain(told):
        if isinstance(told, list):
            return [plain(one) for one in told]
        if not isinstance(told, dict):
            return told
        if set(told) == {"name", "matchType", "value"}:
            return f'{told["name"]} {told["matchType"]} "{told["value"]}"'
        return {words.get(key, re.sub("([A-Z])", r"_\1", key).lower()): plain(value) for key, value in told.items()}

    assert plain(spec) == ROUTES


@needs_amtool
def test_alertmanager_takes_the_file_as_it_is_and_with_the_receivers_of_the_guide(tmp_path):
    guide = (ROOT / "docs" / "how-to" / "be-told.md").read_text(encoding="utf-8")
    receivers = re.search(r"```text\n(receivers:.*?)```", guide, re.DOTALL)[1]
    filled = tmp_path / "alertmanager.yaml"
    filled.write_text(PLAIN.read_text(encoding="utf-8").partition("\nreceivers:")[0] + "\n" + receivers)
    for path in (PLAIN, filled):
        done = subprocess.run(["amtool", "check-config", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@needs_amtool
@every_alert
def test_alertmanager_routes_as_we_do(alert):
    told = [f"{label}={value}" for label, value in alert.items()]
    done = subprocess.run(
        ["amtool", "config", "routes", "test", f"--config.file={PLAIN}", *told],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().split(",") == reached(ROUTES["route"], alert)
