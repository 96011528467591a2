"""A real Alertmanager mutes what we say that our routes mute, pair by pair."""

import shutil
import subprocess
import time
from itertools import combinations

import httpx
import pytest

from alert_routes import ALERTS, PLAIN, ROUTES, mutes
from serving_process import free_port

ALERTMANAGER = shutil.which("alertmanager") or shutil.which("prometheus-alertmanager")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(ALERTMANAGER is None, reason="Alertmanager is not on the PATH."),
]


@pytest.fixture
def alertmanager(tmp_path):
    """A client of an Alertmanager that follows our routes."""
    address = f"127.0.0.1:{free_port()}"
    alone = ["--cluster.listen-address=", f"--storage.path={tmp_path}", f"--web.listen-address={address}"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([ALERTMANAGER, f"--config.file={PLAIN}", *alone], stdout=log, stderr=log)
    try:
        again = httpx.HTTPTransport(retries=7)
        with httpx.Client(base_url=f"http://{address}/api/v2", transport=again, timeout=30) as client:
            yield client
    finally:
        process.terminate()
        process.wait(10)


def test_of_two_alerts_of_a_service_alertmanager_mutes_the_one_that_we_say(alertmanager):
    pairs = {f"service-{number}": pair for number, pair in enumerate(combinations(ALERTS, 2))}
    firing = [one | {"perch_dev_service": name} for name, pair in pairs.items() for one in pair]
    alertmanager.post("/alerts", json=[{"labels": labels} for labels in firing]).raise_for_status()

    expected = {
        (name, target["alertname"], target["severity"])
        for name, pair in pairs.items()
        for source, target in (pair, pair[::-1])
        if any(mutes(rule, source, target) for rule in ROUTES["inhibit_rules"])
    }
    for _ in range(50):  # it takes alerts in beside answering
        told = alertmanager.get("/alerts").json()
        muted = {
            (one["labels"]["perch_dev_service"], one["labels"]["alertname"], one["labels"]["severity"])
            for one in told
            if one["status"]["inhibitedBy"]
        }
        if muted == expected:
            break
        time.sleep(0.2)
    assert len(told) == len(firing)
    assert muted == expected
    assert len(muted) > 10
