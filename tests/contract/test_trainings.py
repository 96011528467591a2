"""One set of checks for everything that trains anew: workflows of Argo, processes of this machine, a twin in memory."""

import asyncio
import fcntl
import sys
import time
from datetime import UTC, datetime

import pytest

from fake_cluster import NAMESPACE, FakeCluster, RefusedError
from perch.adapters.training.argo import ArgoTrainings
from perch.adapters.training.memory import MemoryTrainings
from perch.adapters.training.port import run_name
from perch.errors import PlatformError
from perch.local.trainings import LocalTrainings, retraining

OWNER = {"apiVersion": "perch.dev/v1alpha1", "kind": "ModelService", "name": "ads", "uid": "u-1"}


class InMemory:
    def __init__(self):
        self.trainings = MemoryTrainings()

    async def end(self, name, *, succeeded):
        self.trainings.end(succeeded=succeeded, began_s=1.0, ended_s=2.0, message="so it was")

    def runs(self):
        return len(self.trainings.started)

    async def close(self):
        pass


class OnArgo:
    def __init__(self):
        self.cluster = FakeCluster()
        self.trainings = ArgoTrainings(
            self.cluster.client, "ads", NAMESPACE, memory="2Gi", owner=OWNER, may_write=lambda: None
        )

    async def end(self, name, *, succeeded):
        found = self.cluster.get("workflows", name)
        now = datetime.now(tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        phase = "Succeeded" if succeeded else "Failed"
        told = {"phase": phase, "startedAt": now, "finishedAt": now, "message": "so it was"}
        self.cluster.put("workflows", found | {"status": told})

    def runs(self):
        return len(self.cluster.names("workflows"))

    async def close(self):
        pass


class OnThisMachine:
    """Each run lasts until a file says how it is to end."""

    _WAITS = (
        "import pathlib, sys, time\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "(folder / f'began-{time.time_ns()}').touch()\n"
        "while not (folder / 'end').exists(): time.sleep(0.01)\n"
        "print('so it was'); sys.exit(int((folder / 'end').read_text() or 1))\n"
    )

    def __init__(self, folder):
        self.folder = folder
        self.trainings = LocalTrainings(folder, lambda _: [sys.executable, "-c", self._WAITS, str(folder)])

    async def end(self, name, *, succeeded):
        (self.folder / "draft").write_text("0" if succeeded else "4")
        (self.folder / "draft").rename(self.folder / "end")
        deadline = time.monotonic() + 20
        while await self.trainings.in_progress():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        (self.folder / "end").unlink()

    def runs(self):
        deadline = time.monotonic() + 20
        while not (begun := len(list(self.folder.glob("began-*")))) and time.monotonic() < deadline:
            time.sleep(0.02)
        return begun

    async def close(self):
        await self.trainings.close()


@pytest.fixture
def loop():
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(params=["memory", "argo", "machine"])
def site(request, tmp_path, loop):
    made = {"memory": InMemory, "argo": OnArgo, "machine": lambda: OnThisMachine(tmp_path)}
    site = made[request.param]()
    yield site
    loop(site.close())


def test_at_first_nothing_is_in_progress_and_nothing_has_ended(site, loop):
    assert loop(site.trainings.in_progress()) is None
    assert loop(site.trainings.last()) is None


def test_a_run_is_in_progress_from_its_start_to_its_end(site, loop):
    loop(site.trainings.start("ads-retrain-1", "an alert fires"))
    assert loop(site.trainings.in_progress()) == "ads-retrain-1"
    assert loop(site.trainings.last()) is None
    loop(site.end("ads-retrain-1", succeeded=True))
    assert loop(site.trainings.in_progress()) is None


@pytest.mark.parametrize("succeeded", [True, False])
def test_it_is_known_how_the_last_run_ended(site, loop, succeeded):
    loop(site.trainings.start("ads-retrain-1", "x"))
    loop(site.end("ads-retrain-1", succeeded=succeeded))
    ended = loop(site.trainings.last())
    assert (ended.name, ended.succeeded) == ("ads-retrain-1", succeeded)
    assert ended.message.startswith("so it was")
    assert ended.began_s <= ended.ended_s


def test_a_run_that_is_started_twice_is_one_run_even_after_its_end(site, loop):
    for _ in range(3):
        loop(site.trainings.start("ads-retrain-1", "x"))
    assert site.runs() == 1
    loop(site.end("ads-retrain-1", succeeded=False))
    loop(site.trainings.start("ads-retrain-1", "x"))
    assert loop(site.trainings.in_progress()) is None
    assert site.runs() == 1


def test_the_name_of_a_run_is_a_dns_label_however_long_the_service_s_is():
    assert run_name("ads", 1_763_768_000.9) == "ads-retrain-251121-233320"
    assert len(run_name("a" * 40, 4e9)) <= 63


# --- what only a cluster can do ------------------------------------------------------------------------------------


def test_a_workflow_says_what_it_is_for_and_goes_with_its_service(loop):
    site = OnArgo()
    loop(site.trainings.start("ads-retrain-1", "An alert fires: x."))
    made = site.cluster.get("workflows", "ads-retrain-1")
    assert made["spec"] == {
        "workflowTemplateRef": {"name": "perch-retrain"},
        "arguments": {
            "parameters": [
                {"name": "service", "value": "ads"},
                {"name": "reason", "value": "An alert fires: x."},
                {"name": "memory", "value": "2Gi"},
            ]
        },
    }
    assert made["metadata"]["labels"]["perch.dev/service"] == "ads"
    assert made["metadata"]["ownerReferences"] == [OWNER]


def test_runs_of_others_count_and_those_of_other_services_do_not(loop):
    site = OnArgo()
    other = ArgoTrainings(site.cluster.client, "news", NAMESPACE, memory="2Gi", owner=OWNER, may_write=lambda: None)
    loop(other.start("news-retrain-1", "x"))
    assert loop(site.trainings.in_progress()) is None
    by_hand = ArgoTrainings(site.cluster.client, "ads", NAMESPACE, memory="2Gi", owner=OWNER, may_write=lambda: None)
    loop(by_hand.start("ads-retrain-by-hand", "x"))
    assert loop(site.trainings.in_progress()) == "ads-retrain-by-hand"


def test_what_the_cluster_refuses_is_a_sentence(loop):
    site = OnArgo()
    site.cluster.interrupt("POST", lambda: (_ for _ in ()).throw(RefusedError(403, "Forbidden", "no rights")))
    with pytest.raises(PlatformError, match="The cluster refuses to begin Workflow ads-retrain-1: no rights"):
        loop(site.trainings.start("ads-retrain-1", "x"))


# --- what only a machine can do ------------------------------------------------------------------------------------


def test_a_run_that_its_platform_left_behind_was_broken_off(tmp_path, loop):
    first = OnThisMachine(tmp_path)
    loop(first.trainings.start("ads-retrain-1", "x"))
    loop(first.close())
    again = OnThisMachine(tmp_path).trainings
    ended = loop(again.last())
    assert (ended.name, ended.succeeded) == ("ads-retrain-1", False)
    assert "broken off" in ended.message
    assert loop(again.in_progress()) is None


def test_a_run_that_somebody_else_began_on_this_machine_is_in_progress(tmp_path, loop):
    run = tmp_path / "workflows" / "retrain-3"
    run.mkdir(parents=True)
    trainings = OnThisMachine(tmp_path).trainings
    with (run / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert loop(trainings.in_progress()) == "retrain-3"
    assert loop(trainings.in_progress()) is None


def test_a_record_that_is_not_ours_is_named(tmp_path):
    (tmp_path / "retraining.json").write_text("{}")
    with pytest.raises(PlatformError, match=r"retraining\.json does not say which run was the last"):
        OnThisMachine(tmp_path)


def test_a_command_that_is_not_there_is_a_sentence(tmp_path, loop):
    trainings = LocalTrainings(tmp_path, lambda _: ["/nowhere/perch"])
    with pytest.raises(PlatformError, match="cannot be started"):
        loop(trainings.start("ads-retrain-1", "x"))
    assert loop(trainings.in_progress()) is None


def test_the_command_is_the_verb_that_a_person_would_use(tmp_path):
    told = retraining(tmp_path / "perch.yaml", tmp_path, "why")
    assert told[3:6] == ["workflow", "run", "retrain"]
    assert told[-2:] == ["--reason", "why"]
