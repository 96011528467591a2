"""What `perch kpi` says of what was earned."""

import json
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from rich.console import Console

from perch.cli import kpi
from perch.cli.kpi import tell_kpi
from perch.core.lift import Earned
from perch.signals.earnings import STRATUM_S, Earning


@pytest.fixture
def told(monkeypatch, capsys):
    """What is printed of some earnings."""

    def told(earnings, *, as_json=False):
        @contextmanager
        def events():
            yield SimpleNamespace(earnings=lambda since_s: [one for one in earnings if since_s > 0])

        monkeypatch.setattr(kpi, "console", Console(width=160))
        tell_kpi(SimpleNamespace(events=events), 7, as_json=as_json)
        return capsys.readouterr().out

    return told


def hours(arm, version, requests, clicks, count=20, first=0):
    """Stretches with so many requests and clicks each, of which every tenth brings 2."""
    sales = clicks // 10
    earned = Earned(requests, clicks, sales, 2.0 * sales, 4.0 * sales)
    return [Earning((first + i) * STRATUM_S, version, arm, earned) for i in range(count)]


def test_the_champion_is_compared_with_the_baseline_that_is_held_out(told):
    said = told(hours("stable", "7", 990, 60) + hours("baseline", "1", 330, 10))
    assert "champion, version 7 19,800 1,200 6.06%" in " ".join(said.split())
    assert "champion, version 7, over baseline, version 1, where both answered:" in said
    assert "clicks for each request +100.0%" in " ".join(said.split())
    assert "not said below 50 sales of each" in said
    assert "95%" in said


def test_of_versions_that_followed_each_other_the_latest_counts(told):
    earnings = hours("stable", "6", 100, 5) + hours("stable", "7", 100, 6, first=20) + hours("baseline", "1", 10, 1, 40)
    (lift,) = json.loads(told(earnings, as_json=True))["lifts"]
    assert lift["of"] == {"arm": "stable", "version": "7"}
    assert lift["clicks"]["low"] < lift["clicks"]["estimate"] == pytest.approx(-0.4, abs=1e-4)


def test_a_canary_is_compared_with_the_champion_of_its_time_only(told):
    earnings = hours("stable", "7", 900, 100, count=40) + hours("canary", "8", 100, 5, count=10, first=30)
    lifts = json.loads(told(earnings, as_json=True))["lifts"]
    assert [one["over"]["arm"] for one in lifts] == ["stable"]
    assert lifts[0]["clicks"]["estimate"] == pytest.approx(0.05 / (100 / 900) - 1, abs=1e-4)
    assert lifts[0]["clicks"]["high"] < 0


def test_without_a_held_out_share_it_is_told_how_to_have_one(told):
    assert "spec.policy.baselineShare" in told(hours("stable", "1", 100, 5))


def test_before_labels_are_final_nothing_is_told(told):
    assert "older than its attribution window" in told([])
