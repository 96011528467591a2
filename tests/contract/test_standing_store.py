"""What every `Store` of a standing does: the file of one machine and the status of an object, by the same checks."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import httpx2
import numpy as np
import pytest

from core_market import GRID, SLO, Version
from fake_cluster import NAMESPACE, FakeCluster
from perch.core import Policy, begin, reference
from perch.core.types import Action, Arm, Phase
from perch.errors import PlatformError, RolloutError
from perch.operator.reporting import READY, condition
from perch.operator.store import StatusStore, SupersededError
from perch.rollout.attempt import Attempt
from perch.rollout.standing import Standing, standing_file

CALM = Standing("ad-clicks", champion=3, baseline=1)


@pytest.fixture(scope="module")
def rolling():
    """A rollout in progress."""
    rng = np.random.default_rng(0)
    fixed = reference(Version().serve(10_000, rng), GRID, SLO, None)
    state = begin(Policy(), SLO, fixed, [Arm.STABLE, Arm.CANARY, Arm.BASELINE], 1_000.0)
    counts = {"4/pod-0": {"canary": Version().serve(1_000, rng)}}
    return replace(CALM, attempt=Attempt("v4-1", 4, 3, 1, Policy(), state, counts, sentence="Shadow.", e_value=1.25))


class InFile:
    def __init__(self, folder):
        self._path = folder / "state" / "service.json"

    def open(self):
        return standing_file(self._path)

    def damage(self, text):
        self._path.write_text(text)


class InObject:
    """A ModelService object, with what is on it besides its status."""

    def __init__(self):
        self.cluster = FakeCluster()
        self.cluster.put("modelservices", {"metadata": {"name": "ads"}, "spec": {"model": "ad-clicks"}})
        self.lost_lease = False

    def open(self):
        return StatusStore(
            self.cluster.client,
            "ads",
            NAMESPACE,
            operator="perch-system",
            may_write=self._may_write,
            weights=lambda standing: standing.weights(0.01),
        )

    def _may_write(self):
        if self.lost_lease:
            raise PlatformError("This operator does not hold the lease.")

    @property
    def object(self):
        return self.cluster.get("modelservices", "ads")

    @property
    def status(self):
        return self.object["status"]

    def edit(self, **fields):
        """A person changes the object."""
        self.cluster.change("modelservices", "ads", **fields)

    def damage(self, text):
        self.edit(status=self.status | {"engine": text})


@pytest.fixture
def in_object():
    return InObject()


@pytest.fixture(params=["file", "object"])
def place(request, tmp_path):
    return InFile(tmp_path) if request.param == "file" else InObject()


def kept(place, *standings):
    """What a store that starts now finds after each of `standings` was saved."""

    async def story():
        store = place.open()
        await store.load()
        for standing in standings:
            await store.save(standing)
        return await place.open().load()

    return asyncio.run(story())


def test_before_anything_was_saved_there_is_nothing(place):
    assert kept(place) is None


def test_what_was_saved_last_is_found_bit_for_bit(place, rolling):
    assert kept(place, CALM) == CALM
    assert kept(place, CALM, rolling) == rolling
    assert kept(place, rolling, CALM) == CALM


@pytest.mark.parametrize("text", ["{}", "no base64!", "aGVsbG8="])
def test_what_is_not_what_was_saved_is_named_and_not_taken_for_a_new_service(place, rolling, text):
    kept(place, rolling)
    place.damage(text)
    with pytest.raises(RolloutError, match="does not say where the service stands"):
        kept(place)


# --- what only an object can fail at -------------------------------------------------------------------------------


def ready(message="The champion serves.", *, status="True", second=0):
    since = datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC)
    return condition(READY, message, status=status, reason="Serving", generation=1, since=since)


async def opened(place):
    store = place.open()
    await store.load()
    return store


def test_people_see_the_phase_and_conditions_are_kept_beside_it(in_object, rolling):
    async def story():
        store = await opened(in_object)
        await store.note(7, ready())
        await store.acknowledge("r-1")
        await store.save(rolling)

    asyncio.run(story())
    told = in_object.status
    assert (told["phase"], told["canary"], told["rollout"]) == ("shadow", 4, "v4-1")
    assert (told["observedGeneration"], told["request"], told["operator"]) == (7, "r-1", "perch-system")
    assert [one["type"] for one in told["conditions"]] == ["Ready"]


def test_what_a_rollout_leaves_behind_is_emptied_not_kept_by_the_merge(in_object, rolling):
    ended = replace(rolling.attempt, state=rolling.attempt.state._replace(phase=Phase.DONE, outcome=Action.ROLL_BACK))
    kept(in_object, rolling, rolling.after(ended))
    assert in_object.status["phase"] == "serving"
    assert not {"canary", "weight", "evidence"} & in_object.status.keys()


def test_what_has_not_changed_is_not_written(in_object, rolling):
    async def story():
        store = await opened(in_object)
        for _ in range(3):
            await store.save(rolling)
            await store.note(1, ready())

    asyncio.run(story())
    assert len(in_object.cluster.written) == 2


def test_a_condition_is_news_when_its_status_or_message_changes_and_dates_from_its_status(in_object):
    async def story():
        store = await opened(in_object)
        news = [
            await store.note(1, ready(second=1)),
            await store.note(1, ready(second=2)),
            await store.note(1, ready("Two champions.", second=3)),
            await store.note(1, ready("No pod.", status="False", second=4)),
        ]
        dates = [one.last_transition_time.second for one in store.told.conditions]
        return news, dates

    assert asyncio.run(story()) == ([True, False, True, True], [4])


def test_a_wish_that_changes_in_between_disturbs_nothing_and_is_kept(in_object, rolling):
    async def story():
        store = await opened(in_object)
        in_object.edit(spec={"model": "ad-clicks", "version": 4})
        await store.save(CALM)
        in_object.cluster.interrupt("PATCH", lambda: in_object.edit(spec={"model": "ad-clicks", "version": 5}))
        await store.save(rolling)

    asyncio.run(story())
    assert in_object.object["spec"] == {"model": "ad-clicks", "version": 5}
    assert kept(in_object) == rolling


def test_of_two_who_write_one_object_the_one_that_is_overtaken_changes_nothing(in_object, rolling):
    async def story():
        old, new = await opened(in_object), await opened(in_object)
        await new.save(rolling)
        before = in_object.object
        for write in (old.save(CALM), old.note(1, ready()), old.acknowledge("r-1"), old.save(CALM)):
            with pytest.raises(SupersededError, match="status of ModelService ads was written by somebody else"):
                await write
        assert in_object.object == before
        await new.save(CALM)  # the other one goes on
        assert await old.load() == CALM
        await old.save(rolling)  # and who has read it again may write again

    asyncio.run(story())


def test_who_lost_the_lease_writes_nothing(in_object, rolling):
    async def story():
        store = await opened(in_object)
        in_object.lost_lease = True
        with pytest.raises(PlatformError, match="does not hold the lease"):
            await store.save(rolling)

    asyncio.run(story())
    assert in_object.cluster.written == []


def test_who_loses_the_lease_between_two_tries_writes_nothing(in_object, rolling):
    def meanwhile():
        in_object.edit(spec={"version": 9})
        in_object.lost_lease = True

    async def story():
        store = await opened(in_object)
        in_object.cluster.interrupt("PATCH", meanwhile)
        with pytest.raises(PlatformError, match="does not hold the lease"):
            await store.save(rolling)

    asyncio.run(story())
    assert "status" not in in_object.object


def test_an_api_server_that_is_away_is_told_and_what_was_not_kept_is_saved_again(in_object, rolling):
    async def story():
        store = await opened(in_object)
        in_object.cluster.is_away = True
        with pytest.raises(PlatformError, match=r"does not answer \(connection refused\), so it did not write"):
            await store.save(rolling)
        in_object.cluster.is_away = False
        await store.save(rolling)

    asyncio.run(story())
    assert kept(in_object) == rolling


def test_who_does_not_hear_that_its_write_was_kept_reads_it_again_before_it_writes_more(in_object, rolling):
    def too_slow():
        raise httpx2.ReadTimeout("too slow")

    async def story():
        store = await opened(in_object)
        in_object.cluster.interrupt("PATCH", too_slow, after=True)
        with pytest.raises(PlatformError, match="too slow"):
            await store.save(rolling)
        with pytest.raises(SupersededError):
            await store.save(CALM)
        assert await store.load() == rolling

    asyncio.run(story())


@pytest.mark.parametrize("status", [{"champion": "three"}, {"conditions": [{"type": "ready?"}]}, {"note": "mine"}])
def test_a_status_that_is_not_ours_is_told_and_left_alone(in_object, rolling, status):
    kept(in_object, rolling)
    in_object.edit(status=in_object.status | status)
    before = in_object.object
    for ask in ("load", "claimant"):
        with pytest.raises(RolloutError, match=r"The status of ModelService ads is not ours at .*: clear it"):
            asyncio.run(getattr(in_object.open(), ask)())
    assert in_object.object == before


def test_who_ran_the_object_last_is_told_even_when_the_engines_state_is_damaged(in_object, rolling):
    assert asyncio.run(in_object.open().claimant()) is None
    kept(in_object, rolling)
    in_object.damage("no base64!")
    assert asyncio.run(in_object.open().claimant()) == "perch-system"


def test_what_does_not_fit_into_an_object_is_refused_and_what_stood_there_stays(in_object, rolling):
    noise = np.random.default_rng(0).bytes(300_000).hex()
    huge = replace(rolling, attempt=replace(rolling.attempt, sentence=noise))
    with pytest.raises(RolloutError, match=r"The engine's state takes [0-9,]+ bytes; the object holds 262,144"):
        kept(in_object, rolling, huge)
    assert kept(in_object) == rolling


def test_an_object_that_is_gone_is_told(in_object):
    in_object.cluster.remove("modelservices", "ads")
    with pytest.raises(PlatformError, match=r"refuses to read ModelService ads: .* not found"):
        kept(in_object)
