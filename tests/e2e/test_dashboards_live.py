"""Every query of a dashboard and every rule finds something in a real Prometheus that watches a real platform."""

import contextlib
import json
import math
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml

from markdown_blocks import ROOT, blocks
from perch.local.store import open_registry
from perch.settings import ModelService, Spec, to_yaml
from serving_process import free_port

PROMETHEUS = shutil.which("prometheus")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.skipif(PROMETHEUS is None, reason="Prometheus is not on the PATH."),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

FILES = ROOT / "charts" / "perch" / "files"
GUIDE = ROOT / "docs" / "how-to" / "see-it-in-grafana.md"
PERCH = [str(Path(sys.executable).parent / "perch")]
CHAMPION, CHALLENGER = 1, 2

# The platform as `perch up` starts it, but for watches that look every two seconds, at windows of ten.
HURRIED = """
import sys
import perch.drift.counting, perch.drift.watch, perch.freshness.watch, perch.local.daemon
perch.drift.watch.LOOK_S = perch.freshness.watch.LOOK_S = 2.0
perch.drift.counting.WINDOW_S = 10.0
sys.exit(perch.local.daemon.main())
"""
# Traffic of the same people as in the log that the models were trained on.
MARKET = """
import asyncio, sys
from perch.demo.traffic import Traffic
from perch.world.market import Market
market = Market(0)
market.log(7, 40_000)
url, token = sys.argv[1:]
async def flow():
    async with Traffic(market, url, token, rps=60.0, slo_latency_ms=5_000.0).flowing():
        await asyncio.sleep(900)
asyncio.run(flow())
"""
POLICY = {"shadowS": 2, "startWeight": 0.3, "maxWeight": 0.3, "bakeS": 3600, "minRequests": 1_000_000}

TROUBLE = {
    ("service", "Refused", "A"),
    ("model", "Events that were not taken", "A"),
    ("model", "Events that were not taken", "B"),
    ("fleet", "Failed", "A"),
    ("fleet", "Inputs that drift", "A"),
}
"""Queries of panels, by dashboard, title and letter, that find nothing for as long as all is well."""

ELSEWHERE = {
    ("model", "Evidently's p-value, canary against champion", "A"),
    ("model", "Largest gap between groups of people", "A"),
    ("model", "Largest gap between groups of people", "B"),
}
"""Queries that find nothing without a policy that asks for a judge, or without what is known of people."""

RAISED = {"PerchErrorBudgetBurns", "PerchInputDrifts", "PerchEventsParked"}
"""Alerts that the faults of this test raise, were they to last."""


class Site:
    """A platform, the market's traffic, and a Prometheus that watches, each a process of its own."""

    def __init__(self, folder):
        self.folder, self.began_s = folder, time.time()
        self._open, self._port = contextlib.ExitStack(), free_port()
        self._prometheus = httpx.Client(base_url=f"http://127.0.0.1:{free_port()}/api/v1", trust_env=False)

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            stack.push(self._open)
            self._start()
            stack.pop_all()
        return self

    def __exit__(self, *raised):
        self._open.__exit__(*raised)

    def _start(self):
        spec = Spec(
            port=self._port,
            attributionWindowS=20,
            policy=POLICY,
            events={"featuresShare": 1.0},
            slo={"latencyP99Ms": 5_000, "negligibleLatencyMs": 5_000, "errorRate": 0.001},
        )
        (self.folder / "perch.yaml").write_text(to_yaml(ModelService(spec=spec)))
        self._open.enter_context(self._prometheus)
        daemon = [sys.executable, "-c", HURRIED, "--declaration", "perch.yaml", "--folder", ".perch", "--allow-faults"]
        self._run("platform", *daemon)
        told = GUIDE.read_text(encoding="utf-8")
        config = yaml.safe_load(next(body for _, body in blocks(told, "text") if "scrape_configs" in body))
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(ROOT / path) for path in config["rule_files"]]
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        address = self._prometheus.base_url.netloc.decode()
        self._run("prometheus", PROMETHEUS, "--config.file=prometheus.yml", f"--web.listen-address={address}")
        wait((self.folder / ".perch" / "prometheus.json").exists, 60)
        token = (self.folder / ".perch" / "feedback-token").read_text()
        self._run("market", sys.executable, "-c", MARKET, self.route, token)
        self.perch("rollout", "start", "--version", str(CHALLENGER))

    def _run(self, name, *command):
        log = self._open.enter_context((self.folder / f"{name}.log").open("w"))
        process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        self._open.callback(end, process)

    def perch(self, *words):
        done = subprocess.run([*PERCH, *words], cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def found(self, expression):
        """The series of an expression that had a figure at some moment since the beginning; fails if it cannot run."""
        asked = expression.replace("$namespace", "local").replace("$service", "ads").replace("$__rate_interval", "1m")
        told = self._prometheus.get(
            "/query_range", params={"query": asked, "start": self.began_s, "end": time.time(), "step": "2s"}, timeout=30
        ).json()
        assert told["status"] == "success", (asked, told)
        return [
            one for one in told["data"]["result"] if any(not math.isnan(float(value)) for _, value in one["values"])
        ]

    def raised(self):
        """The alerts whose expressions are true now."""
        told = self._prometheus.get("/alerts").json()
        return {alert["labels"]["alertname"] for alert in told["data"]["alerts"]}

    def process(self, counter):
        """The address of the one process that shows a counter; `counter` is a regular expression."""
        targets, _ = json.loads((self.folder / ".perch" / "prometheus.json").read_text())
        (address,) = [one for one in targets["targets"] if re.search(counter, httpx.get(f"http://{one}/metrics").text)]
        return f"http://{address}"

    def send(self, method, url, body, token):
        """Send anything, with one of the platform's tokens."""
        headers = {"authorization": f"Bearer {(self.folder / '.perch' / token).read_text()}"}
        return httpx.request(method, url, json=body, headers=headers)

    @property
    def route(self):
        return f"http://127.0.0.1:{self._port}"


def end(process):
    process.send_signal(signal.SIGTERM)
    process.wait(30)


def wait(reached, timeout_s):
    deadline = time.monotonic() + timeout_s
    while not reached() and time.monotonic() < deadline:
        time.sleep(1)


def queries():
    """Every query of a panel, by dashboard, title and letter."""
    return {
        (path.stem, panel["title"], target["refId"]): target["expr"]
        for path in sorted((FILES / "dashboards").glob("*.json"))
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]
        for target in panel["targets"]
    }


def rules():
    told = yaml.safe_load((FILES / "rules.yaml").read_text(encoding="utf-8"))
    return [rule["expr"] for group in told["groups"] for rule in group["rules"]]


def selected(expression):
    """What an expression reads: the names of series with what their labels have to match."""
    found = re.findall(r"\b(?:perch|kubelet)[\w:]*(?:\{[^}]*\})?", expression)
    return {one for one in found if one != "perch_dev_service"}


@pytest.fixture(scope="module")
def site(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    trained(open_registry(folder / ".perch"))
    with Site(folder) as site:
        yield site


def test_no_panel_of_a_healthy_service_is_empty_but_those_that_show_trouble(site):
    asked = queries()

    def empty():
        return {panel for panel, query in asked.items() if not site.found(query)}

    wait(lambda: len(site.found("perch_quality_clicks_total")) > 0, 60)
    site.perch("inspect")
    wait(lambda: empty() <= TROUBLE | ELSEWHERE, 120)
    assert empty() == TROUBLE | ELSEWHERE


def test_a_healthy_service_raises_no_alert(site):
    # Its ticks are counted over five minutes, of which there were but two; and clicks come after its twenty seconds.
    assert site.raised() <= {"PerchTicksLate", "PerchModelMiscalibrated"}


def test_trouble_shows_on_its_panel_and_raises_its_alert(site):
    champion, collector = (
        site.process(f'perch_rows_total.*version="{CHAMPION}"'),
        site.process("perch_outcomes_pending"),
    )
    asked = {panel: query for panel, query in queries().items() if panel in TROUBLE}

    def trouble(**faults):
        assert site.send("PUT", f"{champion}/faults", faults, "token").is_success

    def empty():
        site.send("POST", f"{site.route}/rank", "no request", "token")
        site.send("POST", f"{site.route}/feedback", [{}], "feedback-token")
        site.send("POST", f"{collector}/v1/predictions", [{}] * 100, "token")
        return {panel for panel, query in asked.items() if not site.found(query)}

    trouble(skew={"column": "site", "how": "null"})
    wait(lambda: "PerchInputDrifts" in site.raised(), 90)
    trouble(error_rate=0.5, skew={"column": "site", "how": "null"})
    wait(lambda: not empty() and site.raised() >= RAISED, 60)
    assert empty() == set()
    assert site.raised() >= RAISED


def test_every_rule_runs_and_finds_all_that_it_reads_once_there_was_trouble(site):
    read = set().union(*(selected(expression) for expression in rules()))
    for expression in rules():
        site.found(expression)
    of_kubelets = {one for one in read if one.startswith("kubelet_")}
    of_people = {one for one in read if one.startswith("perch_fairness_")}
    assert {one for one in read - of_kubelets - of_people if not site.found(one)} == set()
