"""What can be said of the chart without helm: its settings, alerts and dashboards name nothing that is not there."""

import json
import re

import pytest
import yaml

from markdown_blocks import ROOT, anchors
from perch.adapters.fleet import kserve_resources
from perch.adapters.labels import collector_resources
from perch.operator.__main__ import _parser
from perch.rollout.meters import Meters
from perch.signals import names

CHART = ROOT / "charts" / "perch"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
RULES = yaml.safe_load((CHART / "files" / "rules.yaml").read_text(encoding="utf-8"))
DASHBOARDS = sorted((CHART / "files" / "dashboards").glob("*.json"))

EVERY_RULE = [rule for group in RULES["groups"] for rule in group["rules"]]
RECORDED = {rule["record"] for rule in EVERY_RULE if "record" in rule}
ALERTS = [rule for rule in EVERY_RULE if "alert" in rule]

every_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
every_dashboard = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)


def counted():
    """Every series that Perch exposes, without the endings that Prometheus gives them."""
    of_pods = {value for value in vars(names).values() if isinstance(value, str) and value.startswith("perch_")}
    of_operator = {metric.name for metric in Meters(lambda: True).registry.collect()}
    return of_pods | of_operator


def read_by(expression):
    """Every series of ours that an expression reads: (what is exposed, what is recorded)."""
    found = set(re.findall(r"\bperch[_:][a-z0-9_:]+", expression)) - {"perch_dev_service"}
    recorded = {name for name in found if ":" in name}
    return {re.sub(r"_(total|bucket|count|sum)$", "", name) for name in found - recorded}, recorded


def expressions(dashboard):
    told = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return told + [one["query"]["query"] for one in dashboard["templating"]["list"] if one["type"] == "query"]


def sections(values, schema, path=""):
    """Every object of the settings, beside what the schema says of it."""
    yield path, values, schema
    for key, value in values.items():
        below = schema["properties"][key]
        below = SCHEMA["definitions"][below["$ref"].rpartition("/")[2]] if "$ref" in below else below
        if isinstance(value, dict) and "properties" in below:
            yield from sections(value, below, f"{path}.{key}")


def test_the_schema_knows_each_setting_and_no_other():
    for path, values, schema in sections(VALUES, SCHEMA):
        assert set(values) == set(schema["properties"]), path
        assert schema.get("additionalProperties") is (None if path == ".global" else False), path


def test_every_section_of_the_settings_says_what_it_is_for():
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    for key in set(VALUES) - {"global", "image", "operator", "mlflow"}:  # there each setting does
        assert re.search(rf"^# .*\n{key}:", text, re.MULTILINE), key


def test_the_operator_is_told_nothing_but_options_that_it_knows():
    told = (CHART / "templates" / "operator.yaml").read_text(encoding="utf-8")
    options = re.findall(r"- (--[a-z-]+)=", told)
    assert {"--watch", "--allow-gateway", "--allow-domain", "--pull-secret"} < set(options)
    assert set(options) <= set(_parser()._option_string_actions)


@pytest.mark.parametrize("rule", EVERY_RULE, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_reads_what_is_counted_or_recorded(rule):
    exposed, recorded = read_by(rule["expr"])
    assert exposed <= counted()
    assert recorded <= RECORDED


def test_nothing_is_recorded_that_nobody_reads():
    boards = [json.loads(path.read_text(encoding="utf-8")) for path in DASHBOARDS]
    asked = [rule["expr"] for rule in ALERTS] + [one for board in boards for one in expressions(board)]
    assert set().union(*(read_by(one)[1] for one in asked)) == RECORDED


@every_alert
def test_an_alert_says_how_urgent_it_is_in_a_sentence_and_where_to_read_on(alert):
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"]["summary"].endswith(".")
    path, _, anchor = alert["annotations"]["runbook"].partition("#")
    assert anchor == alert["alert"].lower()
    assert anchor in anchors((ROOT / path).read_text(encoding="utf-8"))


def test_a_page_of_the_runbook_is_an_alert():
    pages = re.findall(
        r"^## (.+)$", (ROOT / "docs/how-to/answer-an-alert.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(pages) == sorted({alert["alert"] for alert in ALERTS})


@every_dashboard
def test_a_dashboard_shows_what_is_counted_or_recorded(path):
    dashboard = json.loads(path.read_text(encoding="utf-8"))
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(numbers) == len(set(numbers)) > 0
    for expression in expressions(dashboard):
        exposed, recorded = read_by(expression)
        assert exposed | recorded, expression
        assert exposed <= counted(), expression
        assert recorded <= RECORDED, expression


@every_dashboard
def test_no_two_panels_of_a_dashboard_overlap(path):
    taken = set()
    for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_no_panel_suspects_a_canary_because_its_scores_differ():
    """They are meant to, and `perch.core.inputs` calls it no drift."""
    dashboards = [json.loads(path.read_text(encoding="utf-8")) for path in DASHBOARDS]
    limited = [one for dashboard in dashboards for one in expressions(dashboard) if "drift_limit" in one]
    assert limited
    for expression in limited:
        assert 'feature="_score", against="champion"' in expression.partition(" unless ")[2]


def test_the_flows_that_are_allowed_lead_to_the_ports_that_answer():
    flows = (CHART / "templates" / "_flows.tpl").read_text(encoding="utf-8")
    ports = {end: set(re.findall(rf"to: {end}, ports: \[(.*?)\]", flows)) for end in ("serving", "collector")}
    live, mirror = kserve_resources.PORT, kserve_resources._MIRROR_TARGET
    assert ports["serving"] == {f"{live}/TCP", f"{live}/TCP, {mirror}/TCP"}
    assert ports["collector"] == {f"{collector_resources.PORT}/TCP"}
