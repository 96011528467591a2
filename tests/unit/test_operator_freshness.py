"""Freshness in the status of an object."""

import asyncio

import pytest

from fake_cluster import NAMESPACE, FakeCluster
from perch.core.freshness_types import State
from perch.errors import RolloutError
from perch.freshness.remembered import Remembered
from perch.operator.freshness import StatusFreshness, packed, unpacked
from perch.operator.store import StatusStore
from perch.rollout.standing import Standing
from perch.settings.status import ModelServiceStatus

REMEMBERED = Remembered(
    State(version=3, fresh_s=1_800_000_000.0, lost_clicks=1.25, tokens=2.5, run=7, sentence="All is well."),
    matured_s=1_800_000_001.5,
    due_s=1_800_003_600.0,
    in_progress="ads-retrain-7",
)


@pytest.fixture
def cluster():
    cluster = FakeCluster()
    cluster.put("modelservices", {"metadata": {"name": "ads"}, "spec": {}})
    return cluster


def opened(cluster):
    return StatusStore(
        cluster.client, "ads", NAMESPACE, operator="perch", may_write=lambda: None, weights=lambda one: one.weights(0.0)
    )


def test_it_goes_into_the_status_and_comes_back_equal(cluster):
    async def round_trip():
        store = opened(cluster)
        await store.load()
        assert await StatusFreshness(store).load() is None
        await StatusFreshness(store).save(REMEMBERED)
        again = opened(cluster)
        await again.load()
        return await StatusFreshness(again).load()

    assert asyncio.run(round_trip()) == REMEMBERED


def test_people_are_told_the_figures(cluster):
    told = packed(REMEMBERED).model_dump(by_alias=True, mode="json")
    assert told | {"state": None} == {
        "freshSince": "2027-01-15T08:00:00Z",
        "due": "2027-01-15T09:00:00Z",
        "lostClicks": 1.25,
        "lossPerHour": None,
        "runsLeft": 2.5,
        "run": 7,
        "inProgress": "ads-retrain-7",
        "sentence": "All is well.",
        "state": None,
    }


def test_the_ticks_that_save_beside_it_leave_it_as_it_is(cluster):
    async def save_both():
        store = opened(cluster)
        await store.load()
        await StatusFreshness(store).save(REMEMBERED)
        await store.save(Standing("ad-clicks", champion=3, baseline=1))

    asyncio.run(save_both())
    status = ModelServiceStatus.of(cluster.get("modelservices", "ads"))
    assert status.champion == 3
    assert unpacked(status.freshness) == REMEMBERED


def test_a_state_that_is_not_ours_is_a_sentence():
    foreign = packed(REMEMBERED).model_copy(update={"state": "bm90IG91cnM="})
    with pytest.raises(RolloutError, match=r"status\.freshness does not say how fresh the model is"):
        unpacked(foreign)
