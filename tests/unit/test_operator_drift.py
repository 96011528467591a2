"""Drift in the status of an object, and in the operator's gauges."""

import asyncio
from dataclasses import replace

import pytest

from fake_cluster import NAMESPACE, FakeCluster
from perch.core.inputs import Counted, State, Window, judged
from perch.drift.remembered import Remembered
from perch.errors import RolloutError
from perch.operator.drift import StatusDrift, packed, unpacked
from perch.operator.store import StatusStore
from perch.rollout.meters import Meters
from perch.rollout.standing import Standing

PRICE = Counted("price", "", ("0.0", "4.0", "+Inf", "missing"), (0, 980, 0, 20), (0, 0, 0, 1_000))
PAIR = Counted("price", "site", tuple("0123"), (9, 1, 1, 9), (9, 1, 1, 9))


def seen(windows, *counted):
    state = State()
    for number in range(windows):
        state = judged(state, Window(300.0 * number, 300.0 * number + 300, 3, None, counted))
    return state


DRIFTS = Remembered(seen(2, PRICE, PAIR), "Inputs moved.")


def opened(cluster):
    return StatusStore(
        cluster.client, "ads", NAMESPACE, operator="perch", may_write=lambda: None, weights=lambda one: one.weights(0.0)
    )


@pytest.fixture
def cluster():
    cluster = FakeCluster()
    cluster.put("modelservices", {"metadata": {"name": "ads"}, "spec": {}})
    return cluster


def test_it_goes_into_the_status_and_comes_back_equal_and_people_are_told_the_inputs(cluster):
    async def round_trip():
        store = opened(cluster)
        await store.load()
        assert await StatusDrift(store).load() is None
        await StatusDrift(store).save(DRIFTS)
        await store.save(Standing("ad-clicks", champion=3, baseline=1))
        again = opened(cluster)
        await again.load()
        return await StatusDrift(again).load()

    assert asyncio.run(round_trip()) == DRIFTS
    told = cluster.get("modelservices", "ads")["status"]["drift"]
    assert (told["inputs"], told["sentence"]) == (["price"], "Inputs moved.")


def test_what_is_not_ours_is_refused_with_what_to_do():
    with pytest.raises(RolloutError, match="Clear it"):
        unpacked(packed(DRIFTS).model_copy(update={"state": "x"}))


def test_gauges_tell_each_reading_until_it_is_gone():
    meters = Meters(lambda: True)

    def active():
        families = {family.name: family for family in meters.registry.collect()}
        samples = families["perch_modelservice_drift_active"].samples
        return {(sample.labels["feature"], sample.labels["other"]): sample.value for sample in samples}

    meters.tell_drift("shop", "ads", DRIFTS.state)
    assert active() == {("price", ""): 1.0, ("price", "site"): 0.0}
    meters.tell_drift("shop", "ads", seen(1, replace(PRICE, feature="age")))
    assert active() == {("age", ""): 0.0}
    meters.forget("shop", "ads")
    assert active() == {}
