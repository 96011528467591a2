"""The platform as a user runs it: `perch up`, what it answers meanwhile, and that nothing is left of it afterwards."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from perch.adapters.registry.port import Role
from perch.local.store import open_registry
from perch.settings import ModelService, Spec, to_yaml
from perch.workload.package import package_digest
from perch.world.market import Market
from serving_process import free_port

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PERCH = str(Path(sys.executable).parent / "perch")
SLATE = Market(3).requests(1)[0].body()


@dataclass
class User:
    """Somebody at a shell, in a folder with a declaration and trained models."""

    folder: Path
    port: int

    def declare(self, **changes):
        service = ModelService(spec=Spec(port=self.port, **changes))
        (self.folder / "perch.yaml").write_text(to_yaml(service))

    def start(self, *arguments):
        return subprocess.Popen(
            [PERCH, *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"COLUMNS": "200"},
        )

    def __call__(self, *arguments, code=0):
        """What the command says; it must exit with `code` and never show a traceback."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, (out, err)
        assert "Traceback" not in out + err
        return err if code else out

    def processes(self):
        """Whatever runs in the folder or on behalf of it."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and (
                    process.cwd() == str(self.folder) or any(str(self.folder) in part for part in process.cmdline())
                ):
                    found.append(process)
        return found

    def left_after(self, timeout_s=5):
        """The processes that are still there after a moment."""
        deadline = time.monotonic() + timeout_s
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return [(process.pid, process.cmdline()) for process in left]

    def find(self, *words):
        (found,) = [process for process in self.processes() if all(word in process.cmdline() for word in words)]
        return found

    def ask(self):
        return httpx.post(f"http://127.0.0.1:{self.port}/rank", content=SLATE, timeout=10)


@pytest.fixture(scope="module")
def user(trained, tmp_path_factory):
    user = User(tmp_path_factory.mktemp("user"), free_port())
    user.declare()
    trained(open_registry(user.folder / ".perch"))
    yield user
    user("down")
    assert user.left_after() == []


@pytest.fixture(scope="module")
def up(user):
    """A platform that runs, with MLflow's page; of two that were started at once."""
    both = [user.start("up", "--mlflow-port", str(free_port())) for _ in range(2)]
    said = [process.communicate(timeout=90) for process in both]
    assert sorted(process.returncode for process in both) == [0, 7], said
    user.find("perch.local.daemon")
    return user


def test_the_route_answers_and_the_status_says_who(up):
    assert up.ask().status_code == 200
    assert re.search(r"stable +version 1 +100.0 %", up("status"))
    assert "There has been no rollout yet." in up("status")


def test_a_second_platform_is_refused_with_the_first_ones_address(up):
    said = up("up", code=7)
    assert f"http://127.0.0.1:{up.port}" in said
    assert "perch down" in said


def test_malformed_requests_are_refused_through_the_route(up):
    with httpx.Client(base_url=f"http://127.0.0.1:{up.port}", timeout=20) as client:
        refused = {
            "no JSON": client.post("/rank", content=b"{"),
            "a wrong type": client.post("/rank", json={"context": 3, "candidates": []}),
            "not a number": client.post("/rank", content=SLATE.replace(b'"price": ', b'"price": NaN, "x": ', 1)),
            "ten megabytes": client.post("/rank", content=b" " * 10_000_000),
            "a wrong shape": client.post(
                "/v2/models/ad-clicks/infer", json={"inputs": [{"name": "price", "shape": [9]}]}
            ),
            "an unknown model": client.get("/v2/models/unknown"),
        }
        for what, answer in refused.items():
            assert 400 <= answer.status_code < 500, (what, answer.status_code)
            assert answer.json()["error"], what
        assert client.post("/rank", content=SLATE).status_code == 200


def test_a_rollout_is_begun_rolled_back_and_explained(up):
    assert "Rollout v2-1 has begun" in up("rollout", "start", "--version", "2")
    assert "v2-1: shadow" in up("rollout", "status")
    assert "still in progress" in up("rollout", "start", "--version", "3", code=8)
    up("rollout", "pause")
    time.sleep(1.2)
    assert "paused" in up("status")
    up("rollout", "rollback")
    time.sleep(1.2)
    assert "v2-1: roll_back" in up("status")
    story = up("why")
    assert story.startswith("Rollout v2-1: version 2 asks to replace champion 1")
    assert "a person asked for it" in story
    assert "nothing to roll back" in up("rollout", "rollback", code=8)
    assert "Recorded, oldest first: v2-1" in up("why", "v9-9", code=2)


def test_what_cannot_be_released_is_refused_by_its_class(up):
    registry = open_registry(up.folder / ".perch")
    registry.quarantine("ad-clicks", 3, "It failed 5 % of its requests.")
    assert "in quarantine: It failed 5 %" in up("rollout", "start", "--version", "3", code=8)
    assert "It failed 5 %" in up("models")
    assert "champion already" in up("rollout", "start", "--version", "1", code=8)
    assert "no version 99" in up("rollout", "start", "--version", "99", code=6)
    assert "No version is wanted" in up("rollout", "start", code=2)
    assert up.ask().status_code == 200


def corrupt(user, version):
    """Change one byte of a stored model; the file's name."""
    artifacts = user.folder / ".perch" / "artifacts"
    digest = open_registry(user.folder / ".perch").get("ad-clicks", version).digest
    (package,) = [path.parent for path in artifacts.rglob("manifest.json") if package_digest(path.parent) == digest]
    model = next(path for path in package.iterdir() if path.name.startswith("model"))
    model.write_bytes(model.read_bytes()[:-1] + b"!")
    return model.name


def test_a_corrupt_package_is_not_served(up):
    model = corrupt(up, 5)
    said = up("rollout", "start", "--version", "5", code=5)
    assert f"{model} is corrupt" in said
    assert "version 5" not in up("status")


def test_a_declaration_that_was_edited_meanwhile_is_not_half_obeyed(up):
    up.declare(version=4, slo={"latencyP99Ms": 5})
    said = up("rollout", "start", code=3)
    up.declare()
    assert "spec.slo" in said
    assert "perch down, perch up" in said


def test_a_store_that_is_gone_stops_no_traffic(up):
    store = up.folder / ".perch" / "mlflow.db"
    aside = store.rename(store.with_suffix(".aside"))
    try:
        assert "mlflow.db is gone" in up("rollout", "start", "--version", "4", code=6)
        assert up.ask().status_code == 200
        assert re.search(r"stable +version 1 ", up("status"))
    finally:
        aside.rename(store)


@pytest.mark.parametrize("name", ["envoy", "collector"])
def test_a_helper_that_is_killed_comes_back(up, name):
    (found,) = [process for process in up.processes() if name in " ".join(process.cmdline()[:3])]
    found.kill()
    found.wait(5)
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            feedback = httpx.post(f"http://127.0.0.1:{up.port}/feedback", content=b"[]")
            if up.ask().status_code == 200 and feedback.status_code == 401:
                break
        time.sleep(0.2)
    assert time.monotonic() < deadline
    assert "was ended by SIGKILL and is started again" in (up.folder / ".perch/log/platform.log").read_text()


def test_a_platform_that_is_killed_takes_all_with_it_and_the_next_goes_on(up):
    up("rollout", "start", "--version", "4")
    up.find("perch.local.daemon").kill()
    said = up("status", code=7)
    assert "has died" in said
    assert "perch up" in said
    up("down")
    assert up.left_after(0) == []
    up("up")
    assert "v4-1: shadow" in up("status")
    assert "nothing is left running" in up("down")
    assert up.left_after(0) == []
    assert "Nothing was running" in up("down")
    assert "No platform is running here" in up("status", code=7)


def test_a_port_in_use_is_named(user):
    user.declare()
    with socket.create_server(("127.0.0.1", user.port)):
        said = user("up", code=7)
    assert f"Port {user.port} for the route cannot be had" in said
    assert "spec.port" in said
    assert user.left_after() == []


def test_ctrl_c_while_starting_leaves_nothing(user):
    starting = user.start("up")
    deadline = time.monotonic() + 30
    while not any("perch.serving" in " ".join(process.cmdline()) for process in user.processes()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    starting.send_signal(signal.SIGINT)
    starting.communicate(timeout=30)
    assert starting.returncode == 130
    assert user.left_after(1) == []


def test_a_corrupt_champion_is_why_it_does_not_start(user):
    user("down")
    (user.folder / ".perch" / "service.json").unlink(missing_ok=True)
    open_registry(user.folder / ".perch").assign("ad-clicks", Role.CHAMPION, 3)
    model = corrupt(user, 3)
    said = user("up", code=5)
    assert "The platform did not start." in said
    assert f"{model} is corrupt" in said
    assert user.left_after() == []
