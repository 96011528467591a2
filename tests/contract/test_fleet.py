"""One set of checks for InferenceServices, for the processes of one machine, and for their twin in memory."""

import asyncio
import signal
import time

import httpx
import psutil
import pytest

from fake_cluster import run_versions
from kserve_site import InCluster
from perch.adapters.fleet import kserve as kserve_module
from perch.adapters.fleet.memory import MemoryFleet
from perch.adapters.registry.memory import MemoryRegistry
from perch.errors import ModelError, PlatformError, RegistryError
from perch.local import processes
from perch.local.fleet import LocalFleet
from serving_process import write_tiny_package


class InMemory:
    """The twin: what a test does to its processes is a method call."""

    pod = "pod-a"

    def __init__(self):
        self.fleet = MemoryFleet()

    @property
    def ejected(self):
        return self.fleet.ejected

    def serves(self, address):
        return address in self.fleet.endpoints().values()

    def kill(self, version):
        self.fleet.kill(version)

    async def revive(self, version):
        self.fleet.revive(version)

    async def close(self):
        pass


class OnThisMachine:
    """Real processes that serve a tiny package."""

    def __init__(self, registry, folder):
        self.fleet = LocalFleet(
            "ads", registry, folder, slo_latency_ms=25.0, collector_port=9, token_file=folder / "token"
        )

    def serves(self, address):
        try:
            return httpx.get(f"http://{address}/v2/health/ready", trust_env=False).is_success
        except httpx.ConnectError:
            return False

    def process(self, version):
        port = self.fleet.endpoints()[version].rpartition(":")[2]
        (found,) = [child for child in psutil.Process().children() if port in child.cmdline()]
        return found

    def kill(self, version):
        self.process(version).send_signal(signal.SIGKILL)

    async def revive(self, version):
        deadline = time.monotonic() + 30
        while version in self.fleet.down():
            await self.fleet.revive()
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)

    async def close(self):
        await self.fleet.close()


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    registry, package = MemoryRegistry(), tmp_path_factory.mktemp("package") / "tiny"
    write_tiny_package(package)
    for _ in range(2):
        registry.register("ads", package, metrics={}, tags={})
    return registry


@pytest.fixture(scope="module")
def loop():
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(scope="module")
def looking_often():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kserve_module, "_POLL_S", 0.001)
        yield


@pytest.fixture(scope="module", params=["memory", "local", "kserve"])
def site(request, registry, tmp_path_factory, loop):
    """A fleet that runs version 1."""
    if request.param == "memory":
        site = InMemory()
    elif request.param == "local":
        folder = tmp_path_factory.mktemp("fleet")
        (folder / "token").write_text("a-token")
        site = OnThisMachine(registry, folder)
    else:
        request.getfixturevalue("looking_often")
        site = InCluster(registry, run_versions)
        loop(site.open())
    loop(site.fleet.start(1))
    yield site
    loop(site.close())


def test_a_version_that_was_started_has_an_address_and_is_not_down(site):
    address = site.fleet.endpoints()[1]
    assert list(site.fleet.endpoints()) == [1]
    assert int(address.rpartition(":")[2]) > 0
    assert not site.fleet.down()
    assert site.serves(address)


def test_a_version_that_runs_is_left_alone(site, loop):
    before = dict(site.fleet.endpoints())
    loop(site.fleet.start(1))
    assert site.fleet.endpoints() == before


def test_a_version_that_does_not_run_is_stopped_without_a_word(site, loop):
    before = dict(site.fleet.endpoints())
    loop(site.fleet.stop(9))
    assert site.fleet.endpoints() == before


def test_a_version_that_is_asked_for_twice_at_once_runs_once_and_stops_for_good(site, loop):
    async def both():
        await asyncio.gather(site.fleet.start(2), site.fleet.start(2))

    loop(both())
    address = site.fleet.endpoints()[2]
    assert address != site.fleet.endpoints()[1]
    loop(site.fleet.stop(2))
    assert list(site.fleet.endpoints()) == [1]
    assert not site.serves(address)
    if isinstance(site, OnThisMachine):
        assert len([child for child in psutil.Process().children() if "perch.serving" in child.cmdline()]) == 1


def test_a_version_whose_process_dies_is_down_until_it_answers_again_at_the_same_address(site, loop, monkeypatch):
    monkeypatch.setattr(processes, "_RESTART_PAUSE_S", 0.0)
    address = site.fleet.endpoints()[1]
    site.kill(1)
    deadline = time.monotonic() + 5
    while 1 not in site.fleet.down():
        assert time.monotonic() < deadline
        loop(asyncio.sleep(0.01))
    assert site.fleet.endpoints()[1] == address
    loop(site.revive(1))
    assert not site.fleet.down()
    assert site.serves(address)


def test_a_pod_is_taken_out_or_it_is_said_what_to_do_instead(site, loop):
    before = dict(site.fleet.endpoints())
    if isinstance(site, OnThisMachine):
        with pytest.raises(PlatformError, match="nothing to eject as pod-a; roll it back"):
            loop(site.fleet.eject(1, "pod-a"))
    else:
        for _ in range(2):
            loop(site.fleet.eject(1, site.pod))
        assert site.ejected == {(1, site.pod)}
    assert site.fleet.endpoints() == before


# --- what only real processes can fail at --------------------------------------------------------------------------


@pytest.fixture
def fleet(registry, tmp_path, loop):
    (tmp_path / "token").write_text("a-token")
    fleet = LocalFleet("ads", registry, tmp_path, slo_latency_ms=25.0, collector_port=9, token_file=tmp_path / "token")
    yield fleet
    loop(fleet.close())
    assert [child for child in psutil.Process().children() if str(tmp_path) in " ".join(child.cmdline())] == []


def test_an_unknown_version_is_the_registrys_error(fleet, loop):
    with pytest.raises(RegistryError, match="no version 7"):
        loop(fleet.start(7))
    assert fleet.endpoints() == {}


def test_a_corrupt_package_is_an_error_about_the_model(fleet, loop, monkeypatch):
    fetch = MemoryRegistry.fetch

    def tampered(*arguments):
        folder = fetch(*arguments)
        model = next(path for path in folder.iterdir() if path.name.startswith("model"))
        model.write_bytes(model.read_bytes()[:-1] + b"!")
        return folder

    monkeypatch.setattr(MemoryRegistry, "fetch", tampered)
    with pytest.raises(ModelError, match=r"Version 1 of ads is not served: .*model.* is corrupt"):
        loop(fleet.start(1))
    assert fleet.endpoints() == {}


def test_a_server_that_cannot_start_is_quoted(fleet, loop, tmp_path):
    (tmp_path / "token").unlink()
    with pytest.raises(PlatformError, match=r"The server of version 1 ended with exit code 2: .*token"):
        loop(fleet.start(1))
    assert fleet.endpoints() == {}


def test_a_start_that_is_called_off_leaves_no_process(fleet, loop, tmp_path):
    async def called_off():
        starting = asyncio.create_task(fleet.start(1))
        await asyncio.sleep(0.5)
        assert (tmp_path / "log" / "v1.log").exists()
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

    loop(called_off())
    assert fleet.endpoints() == {}
