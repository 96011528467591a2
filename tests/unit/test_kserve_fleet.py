"""Versions in a cluster: whose they are, how they come up to date, and what happens when something around fails."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from fake_cluster import LABELS, RefusedError, finish_deletion, pod, run_versions
from kserve_site import OWNER, SERVING, InCluster
from perch.adapters.fleet import kserve as kserve_module
from perch.adapters.registry.port import ModelVersion
from perch.errors import PlatformError

REGISTRY = SimpleNamespace(get=lambda model, version: ModelVersion(model, version, "d" * 64, "lightgbm"))


@pytest.fixture
def loop():
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture
def in_cluster(loop, monkeypatch):
    """Makes a fleet in a cluster of its own, with its controllers."""
    monkeypatch.setattr(kserve_module, "_POLL_S", 0.001)
    monkeypatch.setattr(kserve_module, "READY_TIMEOUT_S", 0.05)
    sites = []

    def make(*controllers):
        sites.append(InCluster(REGISTRY, *(controllers or (run_versions,))))
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
    "ask", [lambda fleet: fleet.start(2), lambda fleet: fleet.stop(1), lambda fleet: fleet.eject(1, "ads-v1-pod")]
)
def test_who_lost_the_lease_leaves_the_versions_to_the_operator_that_has_it(in_cluster, loop, ask):
    site = in_cluster()
    loop(site.fleet.start(1))
    before, site.lost_lease = dict(site.cluster.objects), True
    with pytest.raises(PlatformError, match="does not hold the lease"):
        loop(ask(site.fleet))
    assert site.cluster.objects == before


def test_a_start_that_is_called_off_as_the_lease_is_lost_leaves_what_the_next_operator_may_need(in_cluster, loop):
    site = in_cluster(crash)

    async def called_off():
        starting = asyncio.create_task(site.fleet.start(1))
        await site.until(lambda: site.cluster.names("pods"))
        site.lost_lease = True
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

    loop(called_off())
    assert site.running == {"ads-v1"}


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
