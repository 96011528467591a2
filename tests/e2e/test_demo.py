"""The main job, from end to end: every release of the demonstration goes where it should, and the report says so."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import psutil
import pytest

from perch.demo.scenarios import SCENARIOS

pytestmark = pytest.mark.e2e

PERCH = str(Path(sys.executable).parent / "perch")
MEMORY_BYTES = 4 * 2**30
LONGEST_S = 480


def demo(folder):
    return subprocess.Popen(
        [PERCH, "demo"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def family(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        return [parent, *parent.children(recursive=True)]
    return []


def resident_bytes(processes):
    """What the processes hold in memory, pages that they share counted once for each."""
    held = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            held += process.memory_info().rss
    return held


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One run: its folder, what it said, how it ended, how long it took and the most memory it held."""
    folder = tmp_path_factory.mktemp("demo")
    log = folder / "said.txt"
    began, peak, seen = time.monotonic(), 0, set()
    with log.open("w") as output:
        process = subprocess.Popen([PERCH, "demo"], cwd=folder, stdout=output, stderr=output, start_new_session=True)
        try:
            while process.poll() is None:
                assert time.monotonic() - began < LONGEST_S, log.read_text()
                now = family(process)
                seen.update(now)
                peak = max(peak, resident_bytes(now))
                time.sleep(0.5)
        finally:
            process.kill()
            process.wait()
    seconds = time.monotonic() - began
    print(f"\nperch demo took {seconds:.0f} s; its processes held at most {peak / 2**20:,.0f} MiB together.")  # noqa: T201
    left = [one for one in seen if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    return {"folder": folder, "said": log.read_text(), "code": process.returncode, "peak": peak, "left": left}


@pytest.fixture(scope="module")
def report(run):
    return json.loads((run["folder"] / "runs" / "demo" / "report.json").read_text())


@pytest.mark.timeout(LONGEST_S + 60)
def test_it_succeeds_and_the_last_line_names_the_report(run):
    assert run["code"] == 0, run["said"]
    assert "Traceback" not in run["said"]
    assert run["said"].splitlines()[-1] == "Report: runs/demo/report.html"


def test_each_release_ends_as_it_should_and_says_why(report):
    ends = {rollout["name"]: rollout["decision"] for rollout in report["rollouts"]}
    assert ends == {scenario.name: scenario.expected.value for scenario in SCENARIOS}
    for rollout in report["rollouts"]:
        assert rollout["reason"].endswith("."), rollout["name"]
        assert rollout["seconds"] > 0
        assert rollout["weights"]
        assert rollout["e_value"] > 0


def test_no_request_was_lost(report):
    assert [rollout["lost_requests"] for rollout in report["rollouts"]] == [0] * len(SCENARIOS)


def test_five_percent_errors_cost_at_most_ten_bad_responses(report):
    (errors,) = [rollout for rollout in report["rollouts"] if rollout["name"] == "errors"]
    assert errors["bad_responses"] <= 10
    assert errors["canary_requests"] > 0


def test_what_was_caught_in_the_shadow_was_served_to_nobody(report):
    for rollout in report["rollouts"]:
        if rollout["name"] in {"constant", "skew", "inputs"}:
            assert rollout["bad_responses"] == 0, rollout["name"]


def test_evidently_finds_what_scores_do_not_tell(report):
    (inputs,) = [rollout for rollout in report["rollouts"] if rollout["name"] == "inputs"]
    assert "by Evidently column ad_age_days differs most" in inputs["reason"]


def test_an_inspection_names_what_is_read_otherwise_than_in_training(report):
    assert [note for note in report["notes"] if note.startswith("site_log_odds is skewed: training makes the same of ")]


def test_stages_tell_their_time_and_rows(report):
    stages = {stage["name"]: stage for stage in report["stages"]}
    assert stages["data"]["rows"] >= 300_000
    assert stages["data"]["rows_per_s"] >= 200_000 / 4  # other tests share the processors
    for name in ("pipeline: train", "pipeline: features"):
        assert stages[name]["rows_per_s"] > 0
    assert all(stage["seconds"] >= 0 for stage in report["stages"])


def test_the_load_test_passed(report):
    load = report["load"]
    assert load["passed"], load["sentence"]
    assert load["error_rate"] == 0
    assert load["rps"] > 50
    assert 0 < load["p99_ms"] <= load["slo_p99_ms"]


def test_models_have_a_kind_and_metrics_and_the_baseline_its_role(report):
    baseline, *challengers = report["models"]
    assert "baseline" in baseline["role"]
    assert len(challengers) == len(SCENARIOS)
    assert all(model["metrics"]["log_loss"] < baseline["metrics"]["log_loss"] for model in challengers)


def test_the_page_is_whole_and_needs_no_network(run):
    class Page(HTMLParser):
        def __init__(self):
            super().__init__()
            self.open, self.fetched = [], []

        def handle_starttag(self, tag, attributes):
            self.open.append(tag)
            self.fetched += [value for name, value in attributes if name in {"src", "href"} and value[0] != "#"]

        def handle_endtag(self, tag):
            while self.open and self.open.pop() != tag:
                pass

    text = (run["folder"] / "runs" / "demo" / "report.html").read_text()
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    assert page.fetched == []
    for scenario in SCENARIOS:
        assert scenario.title in text.replace("&#x27;", "'")


def test_all_processes_together_hold_at_most_four_gibibytes(run):
    assert 0 < run["peak"] <= MEMORY_BYTES


def test_nothing_is_left_running(run):
    assert run["left"] == []


def test_ctrl_c_ends_it_soon_and_leaves_nothing(tmp_path):
    with demo(tmp_path) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "runs" / "demo" / "clicks.parquet").exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        seen = family(process)
        began = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert time.monotonic() - began < 15
    assert "Traceback" not in said
    assert psutil.wait_procs(seen, timeout=5)[1] == []
