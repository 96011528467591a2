"""On the real platform, an inspection finds nothing of a sound champion, and prices in cents by their name."""

import asyncio
import subprocess
import sys
import time

import httpx
import pytest

from perch.adapters.registry.mlflow import MlflowRegistry
from perch.adapters.registry.port import Role
from perch.demo.traffic import Traffic
from perch.local.platform import platform
from perch.settings import ModelService, Spec
from perch.world.market import Market
from serving_process import free_port

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SKEW = {"column": "price", "how": "scale", "factor": 100.0}
SERVED_S = 12.0


@pytest.fixture
def registry(trained, tmp_path):
    registry = trained(MlflowRegistry(f"sqlite:///{tmp_path}/mlflow.db", artifacts=tmp_path / "artifacts"))
    registry.assign("ad-clicks", Role.CHAMPION, 2)
    return registry


async def inspected(running, registry, folder):
    """What the process says, and the collector's page afterwards."""
    command = [
        *(sys.executable, "-m", "perch.judge.inspect", "--collector", running.collector_url),
        *("--token-file", str(folder / "judge-token"), "--registry", registry.address, "--model", "ad-clicks"),
    ]
    ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, timeout=150)
    assert ended.returncode == 0, ended.stderr
    async with httpx.AsyncClient(trust_env=False) as client:
        page = (await client.get(f"{running.collector_url}/metrics")).text
    equal = {
        line.partition('feature="')[2].partition('"')[0]: float(line.rpartition(" ")[2])
        for line in page.splitlines()
        if line.startswith("perch_skew_equal_share{")
    }
    return ended.stdout, equal, page


async def live(registry, folder):
    """Serve well and inspect, then in cents and inspect again."""
    spec = Spec(port=free_port(), events={"featuresShare": 1.0})
    platform_ = platform(
        ModelService(spec=spec), registry, folder, port=spec.port, allow_faults=True, notify=lambda _: None
    )
    async with platform_ as running:
        traffic = Traffic(Market(0), running.route_url, running.feedback_token, rps=60.0, slo_latency_ms=5_000.0)
        async with traffic.flowing(), httpx.AsyncClient(trust_env=False) as client:
            await asyncio.sleep(SERVED_S)
            sound = await inspected(running, registry, folder)
            headers = {"authorization": f"Bearer {running.token}"}
            broken = await client.put(running.fault_url(2), json={"skew": SKEW}, headers=headers)
            broken.raise_for_status()
            await asyncio.sleep(SERVED_S)
            skewed = await inspected(running, registry, folder)
    return sound, skewed


def test_a_sound_champion_is_served_as_it_was_trained_and_prices_in_cents_are_named(registry, tmp_path):
    begun_s = time.time()
    (said, equal, page), (said_then, equal_then, page_then) = asyncio.run(live(registry, tmp_path))

    assert "features are served as training makes them, to twelve digits" in said, said
    assert len(equal) > 20
    assert set(equal.values()) == {1.0}
    made_s = next(float(line.split()[-1]) for line in page.splitlines() if line.startswith("perch_inspected_timestamp"))
    assert begun_s < made_s < time.time()
    assert 'perch_evidently_distance{model="ad-clicks",version="2",feature="price"}' in page

    assert "price is skewed: training makes the same of" in said_then
    assert "asked with" not in said_then
    assert {name for name, share in equal_then.items() if share < 1} == {"price"}
    assert 0 < equal_then["price"] < 1
    assert "perch_evidently_drifting_share" in page_then

    reports = sorted(tmp_path.glob("artifacts/**/reports/training-*.html"))
    assert len(reports) == 2
    assert "price" in reports[-1].read_text()
