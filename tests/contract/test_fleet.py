"""One set of checks for InferenceServices, for the processes of one machine, and for their twin in memory."""

import asyncio
import signal
import time
from dataclasses import replace

import httpx
import psutil
import pytest

from fake_cluster import LABELS, NAMESPACE, FakeCluster, RefusedError, finish_deletion, pod, run_versions
from perch.adapters.cluster.seen import Seen
from perch.adapters.fleet import kserve as kserve_module
from perch.adapters.fleet.kserve import KServeFleet
from perch.adapters.fleet.kserve_resources import Serving
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


OWNER = {"apiVersion": "perch.dev/v1alpha1", "kind": "ModelService", "name": "ads", "uid": "u"}
SERVING = Serving(
    service="ads",
    namespace=NAMESPACE,
    model="ads",
    image="perch-operator:1",
    registry_url="http://mlflow",
    slo_latency_ms=25.0,
    replicas=1,
    cpu="1",
    memory="1Gi",
)


class InCluster:
    """InferenceServices of an API server in memory."""

    pod = "ads-v1-pod"

    def __init__(self, registry, *controllers):
        self._registry = registry
        self.cluster = FakeCluster(*controllers)
        self._seen = Seen.of(self.cluster.client, NAMESPACE)
        self._keeping = None
        self.fleet = None

    async def open(self, serving=SERVING, *, renew=True):
        """An operator starts."""
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._seen.keep())
        self.fleet = KServeFleet(self.cluster.client, serving, self._registry, seen=self._seen, owner=OWNER)
        await self.fleet.adopt(renew=renew)

    @property
    def ejected(self):
        return {(1, name) for verb, kind, name in self.cluster.written if (verb, kind) == ("DELETE", "pods")}

    @property
    def running(self):
        """The versions of which there are both objects."""
        assert self.cluster.names("services") == self.cluster.names("inferenceservices")
        return self.cluster.names("inferenceservices")

    def serves(self, address):
        name, _, rest = address.partition(".")
        assert rest == f"{NAMESPACE}:80"
        return name in self.cluster.names("services") and f"{name}-pod" in self.cluster.names("pods")

    def kill(self, version):
        self._put_pod(version, ready=False)

    async def revive(self, version):
        self._put_pod(version, ready=True)
        await self.until(lambda: version not in self.fleet.down())

    def _put_pod(self, version, *, ready):
        labels = self.cluster.get("inferenceservices", f"ads-v{version}")["metadata"]["labels"]
        self.cluster.put("pods", pod(f"ads-v{version}-pod", labels, ready=ready))

    async def until(self, condition):
        """Let the watches go on until something holds."""
        for _ in range(1_000):
            if condition():
                return
            await asyncio.sleep(0.001)
        raise AssertionError("it did not come to that")

    async def close(self):
        self._keeping.cancel()
        await asyncio.gather(self._keeping, return_exceptions=True)


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
        assert len(psutil.Process().children()) == 1


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


# --- what only a cluster can do otherwise --------------------------------------------------------------------------


@pytest.fixture
def in_cluster(registry, loop, looking_often, monkeypatch):
    """Makes a fleet in a cluster of its own, with its controllers."""
    monkeypatch.setattr(kserve_module, "READY_TIMEOUT_S", 0.05)
    sites = []

    def make(*controllers):
        sites.append(InCluster(registry, *(controllers or (run_versions,))))
        loop(sites[-1].open())
        return sites[-1]

    yield make
    for site in sites:
        loop(site.close())


def crash(cluster, change, resource, version):
    """A pod that never comes up."""
    if resource == "inferenceservices" and change == "ADDED":
        state = {"waiting": {"reason": "CrashLoopBackOff"}}
        last = {"terminated": {"exitCode": 3, "message": "no such digest"}}
        told = {"name": "fetch", "ready": False, "restartCount": 4, "image": "i", "imageID": "i"}
        stuck = [told | {"state": state, "lastState": last}]
        name, labels = version["metadata"]["name"], version["metadata"]["labels"]
        cluster.put("pods", pod(f"{name}-pod", labels, ready=False, initContainerStatuses=stuck))
    if "deletionTimestamp" in version["metadata"] and change != "DELETED":
        finish_deletion(cluster, version["metadata"]["name"])


def test_what_is_made_goes_with_the_object_that_asks_for_it(in_cluster, loop):
    site = in_cluster()
    loop(site.fleet.start(1))
    for resource in ("services", "inferenceservices"):
        assert site.cluster.get(resource, "ads-v1")["metadata"]["ownerReferences"] == [OWNER]


@pytest.mark.parametrize("resource", ["services", "inferenceservices"])
def test_an_object_of_the_same_name_that_is_not_ours_is_refused_and_left_alone(in_cluster, loop, resource):
    site = in_cluster()
    theirs = site.cluster.put(resource, {"metadata": {"name": "ads-v1", "labels": {"app": "theirs"}}, "spec": {"a": 1}})
    with pytest.raises(PlatformError, match=r"ads-v1 in shop was not made by Perch. Rename the ModelService"):
        loop(site.fleet.start(1))
    loop(site.fleet.stop(1))
    assert site.cluster.written == []
    assert site.cluster.get(resource, "ads-v1") == theirs


def test_a_version_that_does_not_come_up_is_removed_and_its_pod_is_quoted(in_cluster, loop):
    site = in_cluster(crash)
    with pytest.raises(
        PlatformError, match=r"Version 1 of ads did not come up .*: fetch of pod ads-v1-pod: CrashLoop.* no such digest"
    ):
        loop(site.fleet.start(1))
    assert (site.running, site.cluster.names("pods"), dict(site.fleet.endpoints())) == (set(), set(), {})


def test_a_version_that_ran_before_is_not_removed_when_it_cannot_be_brought_up_to_date(in_cluster, loop):
    site = in_cluster()
    loop(site.fleet.start(1))
    site.cluster.controllers.clear()  # nobody follows what is written now
    loop(site.open(replace(SERVING, memory="2Gi")))
    with pytest.raises(PlatformError, match="did not come up"):
        loop(site.fleet.start(1))
    assert (site.running, list(site.fleet.endpoints())) == ({"ads-v1"}, [1])


def test_a_start_that_is_called_off_leaves_nothing_in_the_cluster(in_cluster, loop, monkeypatch):
    monkeypatch.setattr(kserve_module, "READY_TIMEOUT_S", 60.0)
    site = in_cluster(crash)

    async def called_off():
        starting = asyncio.create_task(site.fleet.start(1))
        await site.until(lambda: site.cluster.names("pods"))
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

    loop(called_off())
    assert site.running == set()


def test_what_runs_already_is_taken_over_and_not_touched(in_cluster, loop):
    site = in_cluster()
    loop(site.fleet.start(1))
    site.cluster.put("services", {"metadata": {"name": "ads-v2", "labels": LABELS | {"perch.dev/version": "2"}}})
    loop(site.open())
    assert dict(site.fleet.endpoints()) == {1: "ads-v1.shop:80"}  # of version 2 there is but one object
    site.cluster.written.clear()
    loop(site.fleet.start(1))
    assert site.cluster.written == []


def test_a_version_that_could_not_be_stopped_still_counts_so_that_it_is_stopped_later(in_cluster, loop):
    site = in_cluster()
    loop(site.fleet.start(1))
    for _ in range(2):
        site.cluster.is_away = True
        with pytest.raises(PlatformError):
            loop(site.fleet.stop(1))
        assert list(site.fleet.endpoints()) == [1]
        site.cluster.is_away = False
    loop(site.fleet.stop(1))
    assert (site.running, dict(site.fleet.endpoints())) == (set(), {})


def test_a_version_that_never_ends_is_told_when_it_is_asked_for_again(in_cluster, loop):
    site = in_cluster()
    loop(site.fleet.start(1))
    site.cluster.controllers.clear()
    loop(site.fleet.stop(1))
    with pytest.raises(PlatformError, match=r"Version 1 of ads was stopped and is still there after .* finalizers"):
        loop(site.fleet.start(1))


@pytest.mark.parametrize("renew", [True, False])
def test_what_would_be_run_otherwise_by_now_is_brought_up_to_date_only_when_it_may(in_cluster, loop, renew):
    site = in_cluster()
    loop(site.fleet.start(1))
    before = site.cluster.get("inferenceservices", "ads-v1")
    loop(site.open(replace(SERVING, memory="2Gi"), renew=renew))
    loop(site.fleet.start(1))
    assert (site.cluster.get("inferenceservices", "ads-v1") != before) is renew


def test_a_version_is_up_to_date_when_its_new_pods_are_ready_and_no_old_one_is(in_cluster, loop, monkeypatch):
    monkeypatch.setattr(kserve_module, "READY_TIMEOUT_S", 60.0)
    site = in_cluster()
    loop(site.fleet.start(1))
    newer = replace(SERVING, memory="2Gi")
    old = site.cluster.get("pods", "ads-v1-pod")["metadata"]["labels"]
    new = old | {"perch.dev/fingerprint": newer.fingerprint}

    def roll(cluster, change, resource, version):
        """The object is ready all the time; the test moves the pods."""
        if resource == "inferenceservices":
            told = version["status"] | {"observedGeneration": version["metadata"]["generation"]}
            cluster.change(resource, "ads-v1", status=told)

    site.cluster.controllers[:] = [roll]

    async def story():
        await site.open(newer)
        starting = asyncio.create_task(site.fleet.start(1))
        for put in (
            lambda: None,
            lambda: site.cluster.put("pods", pod("ads-v1-new", new, ready=False)),
            lambda: site.cluster.put("pods", pod("ads-v1-new", new)),
        ):
            put()
            await asyncio.sleep(0.02)
            assert not starting.done()
        site.cluster.put("pods", pod("ads-v1-pod", old, ready=False))
        await asyncio.wait_for(starting, 2)

    loop(story())


def test_a_version_that_is_being_deleted_is_made_anew_when_it_has_gone(in_cluster, loop, monkeypatch):
    monkeypatch.setattr(kserve_module, "READY_TIMEOUT_S", 60.0)
    site = in_cluster()

    async def story():
        await site.fleet.start(1)
        site.cluster.controllers.clear()  # its pod takes its time to end
        await site.fleet.stop(1)
        uid = site.cluster.get("inferenceservices", "ads-v1")["metadata"]["uid"]
        starting = asyncio.create_task(site.fleet.start(1))
        await asyncio.sleep(0.02)
        assert not starting.done()
        site.cluster.controllers.append(run_versions)
        finish_deletion(site.cluster, "ads-v1")
        await asyncio.wait_for(starting, 2)
        assert site.cluster.get("inferenceservices", "ads-v1")["metadata"]["uid"] != uid

    loop(story())
    assert site.running == {"ads-v1"}


@pytest.mark.parametrize("resource", ["services", "inferenceservices"])
def test_what_somebody_else_deletes_is_made_again_once(in_cluster, loop, resource):
    site = in_cluster()

    async def story():
        await site.fleet.start(1)
        assert not await site.fleet.mend()
        site.cluster.remove(resource, "ads-v1")
        await site.until(lambda: not site.fleet._there())
        site.cluster.written.clear()
        assert set(await site.fleet.mend()) == {1}
        assert not await site.fleet.mend()
        assert len(site.cluster.written) == 2
        await site.until(site.fleet._there)
        assert not await site.fleet.mend()
        site.cluster.remove(resource, "ads-v1")
        await site.until(lambda: not site.fleet._there())
        assert set(await site.fleet.mend()) == {1}

    loop(story())
    assert site.running == {"ads-v1"}


def test_what_is_still_being_deleted_is_made_again_only_when_it_has_gone(in_cluster, loop):
    site = in_cluster()

    async def story():
        await site.fleet.start(1)
        await site.fleet.mend()
        site.cluster.controllers.clear()
        metadata = site.cluster.get("inferenceservices", "ads-v1")["metadata"]
        going = metadata | {"deletionTimestamp": "2026-01-01T00:00:00Z"}
        site.cluster.change("inferenceservices", "ads-v1", metadata=going)
        await site.until(lambda: not site.fleet._there())
        assert not await site.fleet.mend()
        finish_deletion(site.cluster, "ads-v1")
        assert set(await site.fleet.mend()) == {1}

    loop(story())
    assert site.running == {"ads-v1"}


def test_what_we_stop_ourselves_is_not_made_again(in_cluster, loop):
    site = in_cluster()

    async def story():
        await site.fleet.start(1)
        await site.fleet.mend()
        await site.fleet.stop(1)
        await site.until(lambda: not site.fleet._there())
        assert not await site.fleet.mend()

    loop(story())
    assert site.running == set()


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda fleet: fleet.start(2), "does not answer .*, so it did not look at version 2 of ads"),
        (lambda fleet: fleet.stop(1), "does not answer .*, so it did not stop version 1 of ads"),
        (lambda fleet: fleet.eject(1, "p"), "does not answer .*, so it did not delete pod p of version 1"),
    ],
)
def test_an_api_server_that_is_away_is_told_in_a_sentence(in_cluster, loop, ask, told):
    site = in_cluster()
    loop(site.fleet.start(1))
    site.cluster.is_away = True
    with pytest.raises(PlatformError, match=told):
        loop(ask(site.fleet))
    assert site.running == {"ads-v1"}


def test_what_the_api_server_refuses_is_quoted(in_cluster, loop):
    site = in_cluster()

    def refuse():
        raise RefusedError(403, "Forbidden", "exceeded quota: pods=10")

    site.cluster.interrupt("PATCH", refuse)
    with pytest.raises(PlatformError, match="The cluster refuses to run version 1 of ads: exceeded quota: pods=10"):
        loop(site.fleet.start(1))
    assert dict(site.fleet.endpoints()) == {}
