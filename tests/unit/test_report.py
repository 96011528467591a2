"""The report tells the run: to machines by fixed keys, to people by one page that needs nothing else."""

import json
import math
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from perch.ui.chart import rollout_chart
from perch.ui.markup import el, raw
from perch.ui.record import RunRecord
from perch.ui.report import page, write_report
from run_record import errors, good, load, run_record

VOID = {"meta", "br"}


class Page(HTMLParser):
    """Parses a page strictly: every element is closed, in order, and knows its text."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.ids, self.links, self.words = [], [], set(), [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        told = dict(attrs)
        self.tags.append(tag)
        if "id" in told:
            assert told["id"] not in self.ids
            self.ids.add(told["id"])
        self.links += [told[key] for key in ("href", "src", "srcset", "action", "data") if key in told]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(self.words)


def test_the_page_is_one_well_formed_document():
    html = page(run_record())
    parsed = Page(html)
    assert html.startswith("<!DOCTYPE html>\n<html")
    assert [parsed.tags.count(tag) for tag in ("html", "head", "body", "h1")] == [1, 1, 1, 1]
    assert "Perch run demo" in parsed.text


def test_the_page_asks_nothing_of_a_network_or_a_script():
    html = page(run_record())
    parsed = Page(html)
    assert "script" not in parsed.tags
    assert all(link.startswith("#") and link[1:] in parsed.ids for link in parsed.links)
    assert not re.search(r"https?:|url\(|@import", html)


def test_the_page_says_how_each_rollout_ended_and_why():
    text = Page(page(run_record())).text
    for rollout in run_record().rollouts:
        assert rollout.title in text
        assert rollout.reason in text
        for event in rollout.events:
            assert event.sentence in text
    assert text.count("rolled back") >= 2
    assert "fell back to the baseline" in text
    assert "All 3 rollouts ended as they should" in text


def test_a_rollout_that_ended_otherwise_than_it_should_stands_out():
    wrong = replace(errors(), decision="promote")
    html = page(replace(run_record(), rollouts=(good(), wrong)))
    assert "1 of 2 rollouts ended as they should" in html
    assert "It should have rolled back." in html
    assert 'class="badge unexpected"' in html


def test_a_breached_slo_is_shown_as_failed():
    breached = replace(load(), p99_ms=250.0, passed=False)
    html = page(replace(run_record(), load=breached))
    assert '<span class="badge unexpected">failed</span>' in html
    assert 'class="over" style="width:100.0%"' in html
    assert 'class="allowed" style="width:40.0%"' in html


def test_whatever_a_record_holds_is_escaped():
    nasty = "<script>alert('x')</script> & \"more\""
    rollout = replace(good(), name=nasty, title=nasty, reason=nasty, decision=nasty)
    record = replace(run_record(), name=nasty, rollouts=(rollout,), notes=(nasty,), machine={nasty: nasty})
    parsed = Page(page(record))
    assert "script" not in parsed.tags
    assert parsed.text.count(nasty) >= 5


def test_metrics_are_compared_side_by_side_and_a_missing_one_is_a_dash():
    text = re.sub(r"<[^>]+>", " ", page(run_record()))
    assert re.search(r"Metric\s+v1\s+v2", text)
    assert re.search(r"log loss\s+0.0942\s+0.0917", text)
    assert re.search(r"ece\s+0.0011\s+\N{EN DASH}", text)
    assert re.search(r"Metrics by slice.*new user/log loss\s+\N{EN DASH}\s+0.1100", text)


def test_an_empty_run_is_a_page_too():
    text = Page(page(RunRecord(name="x", started="now", seconds=0.0))).text
    assert "No rollout was run" in text


def test_the_json_has_the_promised_keys(tmp_path):
    write_report(run_record(), tmp_path)
    told = json.loads((tmp_path / "report.json").read_text())
    assert told.keys() >= {"stages", "models", "rollouts", "load"}
    assert told["stages"][0] == {"name": "data", "seconds": 1.2, "rows": 336_000, "rows_per_s": 280_000.0}
    assert told["models"][1].keys() >= {"version", "role", "metrics"}
    assert told["load"].keys() >= {"p99_ms", "error_rate", "rps", "passed"}
    wanted = "name decision reason seconds canary_requests bad_responses lost_requests weights e_value"
    assert all(rollout.keys() >= set(wanted.split()) for rollout in told["rollouts"])
    assert [rollout["decision"] for rollout in told["rollouts"]] == ["promote", "roll_back", "fall_back"]


def test_the_json_is_strict_although_a_measure_may_be_missing(tmp_path):
    record = replace(run_record(), load=replace(load(), p99_ms=math.nan), rollouts=(replace(good(), e_value=math.inf),))
    page_path = write_report(record, tmp_path)
    told = json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)
    assert told["load"]["p99_ms"] is None
    assert told["rollouts"][0]["e_value"] is None
    Page(page_path.read_text())


def test_nothing_else_is_left_in_the_folder(tmp_path):
    write_report(run_record(), tmp_path / "runs" / "demo")
    assert {path.name for path in (tmp_path / "runs" / "demo").iterdir()} == {"report.json", "report.html"}


def areas(rollout):
    drawn = ET.fromstring(rollout_chart(rollout))
    return {path.get("class"): corners(path.get("d")) for path in drawn.iter("path")}


def corners(path):
    return [tuple(map(float, corner.split())) for corner in path[1:].split("L")]


def test_the_weights_are_drawn_as_they_were():
    drawn = areas(errors())
    top, bottom = 10.0, 140.0
    stable = drawn["area stable"]
    heights = {round((bottom - y) / (bottom - top), 2) for _, y in stable[: len(stable) // 2]}
    assert heights == {0.99, 0.98, 0.95, 0.87, 0.69, 0.49}
    canary = drawn["area canary"]
    assert {y for _, y in canary[: len(canary) // 2]} == {top}


def test_evidence_is_drawn_on_a_logarithmic_scale():
    one_of_each = tuple(replace(errors().evidence[0], t_s=t, e_value=e) for t, e in enumerate((0.1, 1, 100, 1e4, 1e9)))
    below, one, hundred, most, beyond = (y for _, y in areas(replace(errors(), evidence=one_of_each))["evidence"])
    assert below == one
    assert most == beyond
    assert hundred == pytest.approx((one + most) / 2)


def test_a_rollout_without_a_record_is_drawn_as_such():
    drawing = rollout_chart(replace(good(), weights=(), evidence=(), promoted_at_s=None, seconds=0.0))
    assert "No weights were recorded." in drawing


def test_markup_escapes_children_and_attributes_unless_told_otherwise():
    assert el("p", "<b>", raw("<i>"), title='"') == '<p title="&quot;">&lt;b&gt;<i></p>'
    assert el("meta", charset="utf-8", content=None) == '<meta charset="utf-8">'
    assert el("line", x1=1.0, stroke_width=0.125, class_="a") == '<line x1="1" stroke-width="0.12" class="a"></line>'


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not on the PATH")
def test_a_real_browser_draws_the_page(tmp_path):
    html = write_report(run_record(), tmp_path)
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    ended = subprocess.run(
        ["chromium", *quiet, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", html.as_uri()],
        check=True,
        capture_output=True,
        text=True,
        timeout=90,
    )
    parsed = ended.stdout
    assert parsed.count("<svg") == 3
    assert parsed.count("<section") == 6
    picture = tmp_path / "page.png"
    subprocess.run(
        ["chromium", *quiet, f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={picture}", html.as_uri()],
        check=True,
        capture_output=True,
        timeout=90,
    )
    assert picture.stat().st_size > 20_000
