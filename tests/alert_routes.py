"""Alertmanager's rules on whom an alert reaches and which alerts mute others, and the alerts that we have."""

import re

import yaml

from markdown_blocks import ROOT

FILES = ROOT / "charts" / "perch" / "files"
PLAIN = FILES / "alertmanager.yaml"
ROUTES = yaml.safe_load(PLAIN.read_text(encoding="utf-8"))
RULES = yaml.safe_load((FILES / "rules.yaml").read_text(encoding="utf-8"))
ALERTS = [
    {"alertname": rule["alert"], **rule["labels"], "namespace": "shop", "perch_dev_service": "ads"}
    for group in RULES["groups"]
    for rule in group["rules"]
    if "alert" in rule
]
SERVICE = ["namespace", "perch_dev_service"]


def matches(matcher, alert):
    """Whether a matcher takes an alert, by Alertmanager's rules: a regular expression takes all of a value."""
    label, way, value = re.fullmatch(r'(\w+) (=~|=) "(.*)"', matcher).groups()
    told = alert.get(label, "")
    return told == value if way == "=" else re.fullmatch(value, told) is not None


def reached(route, alert):
    """The receivers that an alert reaches below a route that takes it: of the first child, and of those after a
    child that lets it go on; its own where no child takes it."""
    found = []
    for child in route.get("routes", ()):
        if all(matches(matcher, alert) for matcher in child["matchers"]):
            found += reached(child, alert)
            if not child.get("continue"):
                break
    return found or [route["receiver"]]


def mutes(rule, one, other):
    """Whether an alert is told no more while another one fires."""
    sides = (("source_matchers", one), ("target_matchers", other))
    both = all(matches(matcher, alert) for side, alert in sides for matcher in rule[side])
    return both and one != other and all(one.get(label, "") == other.get(label, "") for label in rule["equal"])
