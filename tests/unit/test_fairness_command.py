"""What `perch fairness` says of the groups of people."""

import json
import re
from contextlib import contextmanager
from functools import reduce
from operator import add
from types import SimpleNamespace

import pytest
from rich.console import Console

from perch.cli import fairness as command
from perch.cli.fairness import tell_fairness
from perch.core.fairness import FACTS, PRODUCTS, Sums
from perch.settings import ModelService
from perch.signals.fairness import Fairness, Group, Served, largest_gaps

SERVED = (Served("7", "stable", 5_000, 4_000, 3_600.0, 9_000.0),)


@pytest.fixture
def told(monkeypatch, capsys):
    """What is printed of some fairness."""

    def told(fairness, *, as_json=False):
        @contextmanager
        def events():
            yield SimpleNamespace(fairness=lambda since_s: fairness if since_s > 0 else None)

        monkeypatch.setattr(command, "console", Console(width=160))
        tell_fairness(SimpleNamespace(events=events, declaration=ModelService), 24, as_json=as_json)
        return " ".join(capsys.readouterr().out.split())

    return told


def user(**facts):
    values = dict.fromkeys(FACTS, 0.0) | facts
    return Sums(1, tuple(values.values()), tuple(values[a] * values[b] for a, b in PRODUCTS))


def group(value, predicted=1.0, users=500, attribute="age_group", version="7", arm="stable"):
    """Users with ten requests each, and one click."""
    one = user(requests=10.0, predicted=predicted, clicks=1.0, called=0.5, hits=0.25, loss=3.0)
    return Group(version, arm, attribute, value, reduce(add, [one] * users))


def day(*groups, served=SERVED, has_attributes=True):
    return Fairness(0.0, 86_400.0, has_attributes, served, groups)


def test_each_group_has_its_figures_and_the_worst_gap_is_said_in_a_sentence(told):
    said = told(day(group("18-59", users=1_500), group("60+", 2.0)))
    assert "champion, version 7, by age_group" in said
    assert "60+ 500 5,000 2.00" in said
    gap, low = re.search(r"calibration 60\+ \+(\d+)% \(\+(\d+)% to", said).groups()
    assert 25 < int(low) < int(gap) == 60
    assert (
        f"The calibration of age_group 60+ with the champion, version 7, is +60% off that of all; {low}% are proven, "
        "more than the 25% that the gate allows."
    ) in said


def test_it_is_said_which_requests_of_each_arm_were_looked_at(told):
    said = told(day(group("a"), group("b"), served=(*SERVED, Served("8", "canary", 70, 70, 0.0, 86_340.0))))
    assert (
        "champion, version 7: 5,000 requests with final labels, 1970-01-01 01:00 UTC to 1970-01-01 02:30 UTC. "
        "canary, version 8: 70 requests with final labels, 1970-01-01 00:00 UTC to 1970-01-01 23:59 UTC. "
        "All intervals hold together at one look, with 95%."
    ) in said


def test_where_all_are_treated_alike_that_is_said(told):
    assert "are proven, which is within the 25% that the gate allows." in told(day(group("a"), group("b"), group(None)))


def test_groups_that_were_put_together_are_called_others(told):
    assert "others 500 5,000" in told(day(group("a"), group(None)))


@pytest.mark.parametrize(
    ("fairness", "says"),
    [
        (day(has_attributes=False, served=()), "No sensitive attribute of anybody is kept"),
        (day(served=()), "older than its attribution window"),
        (day(served=(Served("7", "stable", 10, 0, 0.0, 1.0),)), "see events.userColumn"),
        (day(), "known of 50 users or more"),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(told, fairness, says):
    assert says in told(fairness)


def test_a_single_group_or_few_clicks_accuse_nobody(told):
    for fairness in (day(group("a")), day(group("a", users=40), group("b", 5.0, users=40))):
        said = told(fairness)
        assert "Nothing to compare" in said
        assert "No gap can be told" in said


def test_for_programs_there_is_json_with_every_interval(told):
    told_ = json.loads(told(day(group("a"), group("b", 2.0)), as_json=True))
    assert [one["group"] for one in told_["groups"]] == ["a", "b"]
    assert told_["groups"][1]["gaps"]["calibration"]["estimate"] == pytest.approx(1 / 3)
    assert set(told_["groups"][0]["figures"]["score"]) == {"estimate", "low", "high"}
    served = {"version": "7", "arm": "stable", "requests": 5_000, "named": 4_000, "from_s": 3_600.0, "until_s": 9_000.0}
    assert told_["served"] == [served]


def test_values_that_look_like_markup_are_printed_as_they_are(told):
    assert "[red]" in told(day(group("[red]"), group("b")))


def test_the_largest_gap_of_a_version_is_over_all_attributes_and_says_not_whose():
    groups = (group("a"), group("b", 1.2), group("x", attribute="z", users=900), group("y", 3.0, attribute="z"))
    gaps = {one.measure: one for one in largest_gaps(day(*groups))}
    assert gaps["calibration"].figure.estimate > 0.5
    assert "'y'" not in str(gaps)
