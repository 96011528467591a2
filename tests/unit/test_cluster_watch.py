"""What is known of a cluster follows it, and outlives an API server that is away."""

import asyncio
import logging
from contextlib import asynccontextmanager

import httpx2
import pytest
from lightkube.resources.core_v1 import Pod as PodObject

from fake_cluster import LABELS, NAMESPACE, FakeCluster, RefusedError, pod
from perch.adapters.cluster import watch as watch_module
from perch.adapters.cluster.seen import Pod, Seen, Version, Written
from perch.adapters.cluster.watch import Watch


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setattr(watch_module, "_RETRY_S", 0.001)
    return FakeCluster()


def named(*names, **labels):
    return [pod(name, LABELS | labels) for name in names]


async def until(condition):
    """Let the watch go on until something holds."""
    for _ in range(2_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not come to that")


@asynccontextmanager
async def watching(cluster, namespace="*"):
    """A watch of pods that has listed them, and follows."""
    watch = Watch(cluster.client, PodObject, lambda found: found.status.podIP, namespace=namespace)
    keeping = asyncio.create_task(watch.keep())
    try:
        await asyncio.wait_for(watch.listed(), 5)
        await until(lambda: cluster.watches)
        yield watch
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


def known(watch, service="ads", namespace=NAMESPACE):
    return set(watch.of(namespace, service))


def test_what_is_there_is_listed_by_service_and_namespace_and_nothing_else_is(cluster):
    async def story():
        for one in named("a", "b"):
            cluster.put("pods", one)
        cluster.put("pods", pod("c", {"perch.dev/service": "films"}))
        cluster.put("pods", pod("d", LABELS), namespace="elsewhere")
        cluster.put("pods", pod("stranger", {"app": "other"}))
        async with watching(cluster) as watch:
            assert known(watch) == {"a", "b"}
            assert known(watch, "films") == {"c"}
            assert known(watch, namespace="elsewhere") == {"d"}
            assert known(watch, "nobody") == set()
        async with watching(cluster, NAMESPACE) as watch:
            assert known(watch, namespace="elsewhere") == set()

    asyncio.run(story())


def test_a_list_of_many_pages_is_known_as_a_whole(cluster, monkeypatch):
    monkeypatch.setattr(watch_module, "_PAGE", 2)

    async def story():
        for one in named(*"abcde"):
            cluster.put("pods", one)
        async with watching(cluster) as watch:
            assert known(watch) == set("abcde")

    asyncio.run(story())


def test_what_is_made_changed_and_deleted_is_followed(cluster):
    async def story():
        async with watching(cluster) as watch:
            cluster.put("pods", pod("a", LABELS))
            await until(lambda: known(watch) == {"a"})
            cluster.put("pods", pod("a", LABELS, podIP="10.0.0.9"))
            await until(lambda: watch.of(NAMESPACE, "ads")["a"] == "10.0.0.9")
            cluster.put("pods", pod("a", LABELS, podIP=None))  # no longer worth keeping
            await until(lambda: known(watch) == set())
            cluster.put("pods", pod("b", LABELS))
            await until(lambda: known(watch) == {"b"})
            cluster.remove("pods", "b")
            await until(lambda: known(watch) == set())

    asyncio.run(story())


def test_what_was_known_last_is_kept_while_the_server_is_away_and_brought_up_to_date_after(cluster, caplog):
    async def story():
        cluster.put("pods", pod("a", LABELS))
        async with watching(cluster) as watch:
            cluster.is_away = True
            cluster.hang_up()
            await until(lambda: "is not followed" in caplog.text)
            assert known(watch) == {"a"}
            cluster.remove("pods", "a")
            cluster.put("pods", pod("b", LABELS))
            cluster.is_away = False
            await until(lambda: known(watch) == {"b"})

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    assert "What the cluster says of Pod is not followed: connection refused" in caplog.text


def test_objects_are_listed_again_after_a_while_whatever_the_watch_has_told(cluster, monkeypatch):
    monkeypatch.setattr(watch_module, "FOLLOWED_S", 0.05)

    async def story():
        cluster.put("pods", pod("a", LABELS))
        async with watching(cluster) as watch:
            del cluster.objects["pods", NAMESPACE, "a"]  # and no watch tells of it
            await until(lambda: known(watch) == set())

    asyncio.run(story())


def test_a_watch_that_begins_too_late_lists_anew(cluster, caplog):
    async def story():
        cluster.put("pods", pod("a", LABELS))

        def forget():
            cluster.put("pods", pod("b", LABELS))
            cluster.forget()

        cluster.interrupt("WATCH", forget)
        async with watching(cluster) as watch:
            await until(lambda: known(watch) == {"a", "b"})

    asyncio.run(story())
    assert "too old resource version" in caplog.text


def test_a_watch_whose_connection_ends_goes_on_from_there(cluster):
    async def story():
        async with watching(cluster) as watch:
            cluster.interrupt("WATCH", lambda: cluster.put("pods", pod("a", LABELS)))
            cluster.hang_up()
            await until(lambda: known(watch) == {"a"})

    asyncio.run(story())


@pytest.mark.parametrize("trouble", [RefusedError(500, "InternalError"), httpx2.ReadTimeout("too slow")])
def test_a_list_that_fails_is_asked_for_again_and_not_taken_for_an_empty_cluster(cluster, trouble, caplog):
    def fail():
        raise trouble

    async def story():
        cluster.put("pods", pod("a", LABELS))
        cluster.interrupt("GET", fail)
        async with watching(cluster) as watch:
            assert known(watch) == {"a"}

    asyncio.run(story())
    assert str(trouble) in caplog.text


@asynccontextmanager
async def seeing(cluster, namespace):
    """All that is watched, listed once."""
    seen = Seen.of(cluster.client, namespace)
    keeping = asyncio.create_task(seen.keep())
    try:
        await asyncio.wait_for(seen.listed(), 2)
        yield seen
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


def test_pods_versions_services_and_routes_are_told_as_what_they_are(cluster):
    labels = LABELS | {"perch.dev/version": "2", "perch.dev/fingerprint": "f"}
    metadata = {"name": "ads-v2", "labels": labels}

    async def story():
        cluster.put("pods", pod("p", labels))
        cluster.put("pods", pod("starting", labels, ready=False, podIP=None))
        cluster.put("pods", pod("ended", labels, phase="Failed"))
        cluster.put("inferenceservices", {"metadata": metadata, "spec": {}})
        cluster.put("services", {"metadata": metadata, "spec": {}})
        uid = cluster.put("httproutes", {"metadata": {"name": "ads", "labels": LABELS}, "spec": {}})["metadata"]["uid"]
        async with seeing(cluster, NAMESPACE) as seen:
            assert seen.pods.of(NAMESPACE, "ads") == {
                "p": Pod(name="p", version=2, host="10.0.0.1", fingerprint="f", is_ready=True),
                "starting": Pod(name="starting", version=2, host="", fingerprint="f", is_ready=False),
            }
            assert seen.versions.of(NAMESPACE, "ads") == {"ads-v2": Version(2, "f")}
            assert seen.services.of(NAMESPACE, "ads") == {"ads-v2": 2}
            assert seen.routes.of(NAMESPACE, "ads") == {"ads": Written(uid, 1)}

    asyncio.run(story())


def test_a_label_that_is_no_version_is_somebody_elses_and_blinds_nobody(cluster):
    odd, ours = ({"name": name, "labels": LABELS | {"perch.dev/version": name}} for name in ("newest", "2"))

    async def story():
        for metadata in (odd, ours):
            cluster.put("pods", pod(metadata["name"], metadata["labels"]))
            cluster.put("services", {"metadata": metadata, "spec": {}})
            cluster.put("inferenceservices", {"metadata": metadata, "spec": {}})
        async with seeing(cluster, "*") as seen:
            for watch in (seen.pods, seen.services, seen.versions):
                assert known(watch) == {"2"}

    asyncio.run(story())
