"""What the proof does with real serving processes: those that answer, and those that do not."""

import json
import re
import subprocess
import sys
import time

import pytest

from perch.errors import ModelError, UsageError
from perch.serving import proof
from perch.serving.proof import prove
from perch.workload.latency import read_proof
from serving_process import write_tiny_package

pytestmark = pytest.mark.e2e

ROW = {"price": 0.5, "age": None, "site": "a", "ad": "x"}
BODY = json.dumps({"context": {}, "candidates": [ROW] * 5}).encode()


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proof") / "package"
    return folder, write_tiny_package(folder)


def test_a_package_is_proven_by_the_process_that_will_serve_it(package, tmp_path):
    folder, digest = package
    (tmp_path / "requests").write_bytes(BODY + b"\n" + BODY + b"\n")
    options = ["--package", folder, "--requests", tmp_path / "requests", "--seconds", "1", "--out", tmp_path / "out"]
    subprocess.run([sys.executable, "-m", "perch.serving.proof", *map(str, options)], check=True, timeout=120)
    found = read_proof(tmp_path / "out")
    assert found.digest == digest
    assert found.requests > 50
    assert found.failures == 0
    assert 0 < found.p50_ms <= found.p90_ms <= found.p99_ms <= found.max_ms
    assert found.peak_rss_bytes is None or found.peak_rss_bytes > 30_000_000
    assert {file.name for file in tmp_path.iterdir()} == {"requests", "out"}


def test_requests_that_the_model_does_not_take_are_failures(package):
    found = prove(package[0], [BODY, b'{"context": {}, "candidates": [{}]}'], seconds=0.5)
    assert abs(found.failures - found.requests / 2) <= 1


def test_a_server_that_answers_nothing_well_proves_nothing(package):
    found = prove(package[0], [b"{}"], seconds=0.2)
    assert re.fullmatch(r"its server answered none of \d+ requests", found.trouble)


def test_a_server_that_ends_is_told_with_its_last_words(package, tmp_path):
    folder = tmp_path / "broken"
    write_tiny_package(folder)
    (folder / "model.txt").write_text("another")
    found = prove(folder, [BODY], seconds=0.2)
    assert re.match(r"its server ended with exit code 5: .* is corrupt", found.trouble)
    assert found.requests == 0


def test_a_server_that_does_not_come_up_in_time_is_told(package):
    assert "was not ready within 0.01 s" in prove(package[0], [BODY], seconds=0.2, ready_s=0.01).trouble


def test_a_server_that_hangs_is_told(package, monkeypatch):
    monkeypatch.setattr(proof, "SILENCE_S", 0.5)
    asked = proof._Server.ask

    def stopped(server, body):
        server._process.send_signal(19)  # SIGSTOP
        return asked(server, body)

    monkeypatch.setattr(proof._Server, "ask", stopped)
    before_s = time.monotonic()
    assert "left a request unanswered for 0.5 s: it hangs" in prove(package[0], [BODY], seconds=5).trouble
    assert time.monotonic() - before_s < 60


def test_what_cannot_be_asked_is_refused_before_anything_is_started(package, tmp_path):
    with pytest.raises(UsageError, match="there is no request"):
        prove(package[0], [], seconds=1)
    with pytest.raises(ModelError, match=r"manifest\.json cannot be read"):
        prove(tmp_path, [BODY], seconds=1)
