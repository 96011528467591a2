"""The commands of the README and of the tutorial, run as a reader would: in a folder, with real processes."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from markdown_blocks import ROOT, blocks, section

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

OPEN_BANDIT = ROOT.parent / "shared" / "data" / "open-bandit"


class Reader:
    """Somebody who copies commands from a page into a shell, in a folder of her own and on a port that is free."""

    def __init__(self, folder):
        self.folder = folder
        self.port = _free_port()
        self._background = []
        shutil.copytree(ROOT / "docs" / "examples", folder / "docs" / "examples")
        declaration = (ROOT / "perch.yaml").read_text(encoding="utf-8")
        (folder / "perch.yaml").write_text(declaration.replace("port: 8080", f"port: {self.port}"), encoding="utf-8")

    def run(self, commands, *, timeout_s=240):
        shell = self._shell(f"set -e\n{commands}")
        done = subprocess.run(shell, check=False, capture_output=True, timeout=timeout_s, **self._where())
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def watch(self, command, until, *, timeout_s=30):
        """Run what goes on by itself until it has said something, then press Ctrl-C."""
        with self.start(command, stdout=subprocess.PIPE) as process:
            alarm, told = time.monotonic() + timeout_s, ""
            while until not in told and time.monotonic() < alarm:
                told += process.stdout.readline()
            os.killpg(process.pid, signal.SIGINT)
        assert until in told
        assert process.returncode == 130

    def start(self, command, **options):
        process = subprocess.Popen(self._shell(f"exec {command}"), start_new_session=True, **self._where(), **options)
        self._background.append(process)
        return process

    def leave(self):
        """Press Ctrl-C in every terminal, stop the platform, and say what is still running."""
        for process in self._background:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
                process.wait(20)
        self.run("perch down")
        return [process.info for process in psutil.process_iter(["pid", "cmdline"]) if self._mine(process)]

    def _mine(self, process):
        try:
            return Path(process.cwd()) == self.folder
        except (psutil.Error, OSError):
            return False

    def _shell(self, commands):
        own_port = commands.replace("127.0.0.1:8080", f"127.0.0.1:{self.port}").replace("9000", str(self.port))
        return ["bash", "-c", own_port]

    def _where(self):
        tools = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "200"}
        return {"cwd": self.folder, "env": os.environ | tools, "text": True}


@pytest.fixture
def reader(tmp_path):
    reader = Reader(tmp_path)
    try:
        yield reader
    finally:
        left = reader.leave()
    assert left == []


def _free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _alike(told, example):
    """The same keys, and for lists values of the same kind."""
    if isinstance(example, dict):
        return told.keys() == example.keys() and all(_alike(told[key], example[key]) for key in example)
    if isinstance(example, list):
        return isinstance(told, list) and all(_alike(told[0], inner) for inner in example[:1])
    return isinstance(told, type(example))


def test_the_first_ten_minutes_of_the_readme(reader):
    text = section((ROOT / "README.md").read_text(encoding="utf-8"), "### Do it yourself")
    commands = [body for _, body in blocks(text, "bash")]
    answer = json.loads(blocks(text, "json")[0][1])
    setup, market, release, end = commands

    told = reader.run(setup)
    assert "The gates say: better" in told
    assert _alike(json.loads(told.strip().splitlines()[-1]), answer)

    reader.start(market, stdout=subprocess.DEVNULL)
    begin, watching = release.strip().splitlines()
    assert "Rollout v2-1 has begun" in reader.run(begin)
    reader.watch(watching, until="evidence")

    story, history, backtest, explain, end_of_it = end.strip().splitlines()
    assert "version 2 asks to replace champion 1" in reader.run(story)
    assert "in progress" in reader.run(history)
    assert "v2-1 with alpha 0.001 (was 0.01)" in reader.run(backtest)
    assert "False rollbacks: of canaries as good as the champion at most 1 %" in reader.run(explain)
    assert "nothing is left running" in reader.run(end_of_it)


def test_the_tutorial_from_log_to_answer(reader):
    text = (ROOT / "docs" / "tutorial" / "open-bandit.md").read_text(encoding="utf-8")
    training, serving = section(text, "## Train"), section(text, "## Serve")
    train, models = (body for _, body in blocks(training, "bash"))
    data = OPEN_BANDIT if OPEN_BANDIT.exists() else _log(reader.folder / "log")
    told = reader.run(train.replace("../shared/data/open-bandit", str(data)))
    assert "cannot tell the models apart" in told
    assert "the baseline stays" in told
    assert re.search(r"1 +logistic +baseline, champion", reader.run(models))

    first, *asking = [(language, body) for language, body in blocks(serving, "bash", "json")]
    reader.start(first[1].strip())
    reader.run(f"for i in $(seq 600); do curl -sf {_url(asking[0][1])} >/dev/null && exit 0; sleep 0.2; done; exit 1")
    for (_, command), (_, example) in zip(asking[::2], asking[1::2], strict=True):
        assert _alike(json.loads(reader.run(command)), json.loads(example)), command


def _url(command):
    return re.search(r"http://\S+", command)[0]


def _log(folder):
    """A log in the layout of the Open Bandit Dataset, for where the real one is not at hand."""
    folder.mkdir()
    rng, rows = np.random.default_rng(0), 5_000
    for name in ("random-men", "random-women"):
        times = pd.date_range("2019-11-24", periods=rows, freq="100s", tz="UTC")
        columns = {
            "timestamp": times.strftime("%Y-%m-%d %H:%M:%S.%f+00:00"),
            "item_id": rng.integers(0, 30, rows),
            "position": rng.integers(1, 4, rows),
            "click": rng.random(rows) < 0.01,
            **{f"user_feature_{i}": rng.choice(["a", "b", "c"], rows) for i in range(4)},
            **{f"user-item_affinity_{i}": rng.integers(0, 2, rows) for i in range(30)},
        }
        frame = pd.DataFrame(columns).astype({"click": int})
        frame.to_csv(folder / f"{name}.csv.gz", index=False)
    return folder
