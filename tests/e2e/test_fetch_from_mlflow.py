"""Two REST calls are spelled out in `perch.serving.fetch`; here the real server answers them."""

import os
import subprocess
import sys
import time

import httpx
import pytest

from perch.adapters.registry.mlflow import MlflowRegistry
from perch.adapters.registry.port import MOST_REPORTS
from perch.workload.package import check_package
from serving_process import free_port, write_tiny_package

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    store = [f"--backend-store-uri=sqlite:///{folder}/mlflow.db", f"--artifacts-destination={folder}/artifacts"]
    command = [sys.executable, "-m", "mlflow", "server", f"--port={port}", "--workers=1", "--serve-artifacts", *store]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 120
        while not healthy(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def healthy(port):
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def fetch(server, version, digest, folder):
    options = ["--registry", server, "--model", "ads", "--version", str(version), "--digest", digest]
    command = [sys.executable, "-m", "perch.serving.fetch", *options, "--into", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_what_was_registered_is_fetched_and_nothing_else(server, tmp_path):
    digest = write_tiny_package(tmp_path / "made")
    MlflowRegistry(server).register("ads", tmp_path / "made", metrics={"auc": 0.7}, tags={})

    fetched = fetch(server, 1, digest, tmp_path / "fetched")
    assert (fetched.returncode, fetched.stderr) == (0, "")
    assert check_package(tmp_path / "fetched", digest) == check_package(tmp_path / "made")

    other = fetch(server, 1, "0" * 64, tmp_path / "other")
    assert (other.returncode, other.stderr.count("\n")) == (5, 1)
    missing = fetch(server, 2, digest, tmp_path / "other")
    assert (missing.returncode, missing.stderr) == (6, "ads has no version 2: `perch models` lists those there are\n")
    assert not (tmp_path / "other").exists()


def test_of_the_reports_that_a_server_keeps_the_oldest_go(server, tmp_path):
    write_tiny_package(tmp_path / "made")
    registry = MlflowRegistry(server)
    version = registry.register("reported", tmp_path / "made", metrics={"auc": 0.7}, tags={}).version
    for number in range(MOST_REPORTS + 1):
        registry.keep_report("reported", version, f"inputs-{number:03}.html", "<html></html>")
    run = registry._client.get_model_version("reported", str(version)).run_id
    kept = [one.path for one in registry._client.list_artifacts(run, "reports")]
    assert kept == [f"reports/inputs-{number:03}.html" for number in range(1, MOST_REPORTS + 1)]
