"""One task runs one object: until it goes, the lease is lost, or what is fixed changes; and it survives what fails."""

import asyncio
import json
from functools import partial
from types import SimpleNamespace

import pytest

from fake_cluster import NAMESPACE, FakeCluster
from perch.core.types import Weights
from perch.errors import PerchError, PlatformError
from perch.freshness.remembered import Remembered
from perch.operator import app, hosting
from perch.operator.app import handlers
from perch.operator.claims import Claim
from perch.operator.lease import Lease
from perch.operator.reporting import packed
from perch.operator.store import StatusStore, SupersededError
from perch.operator.wish import fixed_of, owner_of, wish_of
from perch.rollout.meters import Meters
from perch.rollout.standing import Standing

SPEC = {"model": "ad-clicks", "version": 1, "cluster": {"cpu": "1"}}


def body_of(spec=SPEC, **metadata):
    return {"metadata": {"name": "ads", "uid": "u-1", "generation": 1} | metadata, "spec": spec}


class FakeService:
    """What is hosted, without versions and traffic: it counts its ticks and fails when it is told to."""

    champion = last_tried = 1
    serves, weights, e_value = True, Weights(), 1.0

    def __init__(self):
        self.rolling = False
        self.ticks, self.failures, self.is_open, self.store = 0, [], False, None

    async def open(self):
        await self.store.load()
        self.is_open = True

    async def tick(self, _now_s):
        self.ticks += 1
        if self.failures:
            raise self.failures.pop(0)

    async def close(self):
        self.is_open = False


class Freshness:
    """Watches over nothing."""

    def __init__(self):
        self.policies, self.is_watched, self.remembered = [], False, Remembered()

    async def open(self):
        self.is_watched = True

    async def keep(self, after_s):
        assert 0 <= after_s < 60
        try:
            await asyncio.Event().wait()
        finally:
            self.is_watched = False

    def follow(self, policy):
        self.policies.append(policy)


class Parts:
    def __init__(self, site):
        self.freshness, self.drift = site.freshness, site.drift
        self.service, self.store = site.service, site.store()
        self.service.store = self.store
        self.lost, self.renewed, self.is_closed = site.lost, None, False
        self.retreated = None

    async def adopt(self, *, renew):
        self.renewed = renew

    async def retreat(self, champion):
        self.retreated = champion

    async def mend(self):
        while self.lost:
            lost = self.lost.pop()
            if isinstance(lost, Exception):
                raise lost
            yield lost

    async def close(self):
        self.is_closed = True


class Stopped:
    """Says what happens at which tick; after the last one the object goes."""

    def __init__(self, steps):
        self._steps, self._is_set, self.waits = list(steps), False, []

    def __bool__(self):
        return self._is_set

    async def wait(self, seconds):
        self.waits.append(seconds)
        await asyncio.sleep(0)
        if self._steps:
            self._steps.pop(0)()
        else:
            self._is_set = True


class Site:
    """An operator with one object, whose status stands on an API server in memory."""

    def __init__(self):
        self.cluster, self.service, self.lost = FakeCluster(), FakeService(), []
        self.body = body_of()
        self.cluster.put("modelservices", {"metadata": {"name": "ads"}, "spec": SPEC})
        self.lease = SimpleNamespace(held=True, is_kept=self._is_kept)
        self.other_lives, self.claims, self.said = False, {}, []
        self.freshness, self.drift, self.watches = Freshness(), Freshness(), {}
        self.meters, self.made = Meters(lambda: self.lease.held), []
        self.options = SimpleNamespace(namespace="perch-system")

    def say_of(self, _namespace, _name):
        return self.said.append

    def parts(self, _declaration, _namespace, _owner):
        self.made.append(Parts(self))
        return self.made[-1]

    def store(self, operator="perch-system"):
        return StatusStore(
            self.cluster.client,
            "ads",
            NAMESPACE,
            operator=operator,
            may_write=lambda: None,
            weights=lambda standing: standing.weights(0.01),
        )

    async def _is_kept(self, _namespace):
        return self.other_lives

    def host(self, *steps):
        """Host the object for a tick, and one after each of `steps`."""
        asyncio.run(hosting.host(self, self.body, NAMESPACE, Stopped(steps), self.claims))

    def wants(self, **spec):
        """A step: the object is changed."""

        def change():
            self.body["spec"] = self.body["spec"] | spec
            self.body["metadata"]["generation"] += 1

        return change

    def overtaken(self):
        """A step: somebody else writes the status, and there is something to write."""
        self.cluster.change("modelservices", "ads", status={"observedGeneration": 9})
        self.service.serves = False

    def rolls(self):
        """A step: a rollout begins."""
        self.service.rolling = True

    def ends(self):
        """A step: the rollout ends."""
        self.service.rolling = False

    def saves(self, standing, operator="perch-system"):
        """What is in the object's status, by whoever runs it."""

        async def save():
            store = self.store(operator)
            await store.claimant()
            await store.save(standing)

        asyncio.run(save())

    def conditions(self):
        told = self.cluster.get("modelservices", "ads").get("status", {}).get("conditions", [])
        return {one["type"]: (one["status"], one["message"]) for one in told}


@pytest.fixture
def events(monkeypatch):
    """What people are told on the object."""
    told = []

    def event(_body, *, reason, message, **named):
        told.append((named["type"], reason, message))

    monkeypatch.setattr(hosting.kopf, "event", event)
    monkeypatch.setattr(app.kopf, "warn", partial(event, type="Warning"))
    return told


@pytest.fixture
def site(events):
    return Site()


def nothing():
    """A step in which nothing happens."""


def test_a_wish_is_what_the_object_says_with_its_generation_and_request():
    asked = json.dumps({"id": "1", "verb": "pause"})
    wish = wish_of(body_of(generation=7, annotations={"perch.dev/request": asked, "other": "x"}))
    assert (wish.declaration.name, wish.declaration.spec.model, wish.declaration.spec.version) == (
        "ads",
        "ad-clicks",
        1,
    )
    assert (wish.generation, wish.request) == (7, asked)
    assert wish_of(body_of()).request is None


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (SPEC | {"version": -1}, r"ModelService ads cannot be meant: spec.version: .*greater than"),
        (SPEC | {"colour": "red"}, r"ModelService ads cannot be meant: spec\.colour: Extra inputs"),
    ],
)
def test_what_cannot_be_meant_is_told_with_its_place(spec, told):
    with pytest.raises(PerchError, match=told):
        wish_of(body_of(spec))


def test_a_version_is_not_fixed_and_all_else_is():
    made_with = fixed_of(wish_of(body_of()))
    assert fixed_of(wish_of(body_of(SPEC | {"version": 2}))) == made_with
    assert fixed_of(wish_of(body_of(SPEC | {"cluster": {"cpu": "2"}}))) != made_with
    assert fixed_of(wish_of(body_of(SPEC | {"policy": {"bakeS": 17}}))) != made_with
    assert fixed_of(wish_of(body_of(SPEC | {"training": {"seed": 2}}))) == made_with
    assert fixed_of(wish_of(body_of(SPEC | {"training": {"memoryMib": 600}}))) != made_with


def test_what_is_made_for_an_object_goes_with_it():
    owner = owner_of(body_of())
    assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == ("ModelService", "ads", "u-1", True)


def test_an_object_is_ticked_until_it_goes_and_all_is_closed(site):
    site.host(nothing, nothing)
    assert (site.service.ticks, site.service.is_open, site.made[0].is_closed) == (3, False, True)
    assert site.conditions()["Ready"] == ("True", "The champion serves.")
    assert site.cluster.get("modelservices", "ads")["status"]["operator"] == "perch-system"


def test_the_inputs_of_the_model_are_watched_as_long_as_the_object_is_run():
    site, seen = Site(), []
    site.host(lambda: seen.append(site.drift.is_watched))
    assert seen == [True]
    assert not site.drift.is_watched


def test_the_age_of_the_model_is_watched_as_long_as_the_object_is_run_and_by_its_policy_of_now():
    site, seen = Site(), []
    site.host(
        lambda: seen.append((site.freshness.is_watched, set(site.watches))),
        site.wants(training={"freshness": {"automatic": True}}),
    )
    assert seen == [(True, {(NAMESPACE, "ads")})]
    assert not site.freshness.is_watched
    assert not site.watches
    assert [policy.automatic for policy in site.freshness.policies] == [False, False, True]
    assert len(site.made) == 1


def test_without_the_lease_nothing_more_is_done(site):
    def lose():
        site.lease.held = False

    site.host(nothing, lose, nothing)
    assert (site.service.ticks, site.service.is_open) == (2, False)


def test_a_status_that_somebody_else_wrote_ends_the_hosting_and_is_left_alone(site):
    with pytest.raises(SupersededError):
        site.host(nothing, site.overtaken, nothing)
    assert site.cluster.get("modelservices", "ads")["status"] == {"observedGeneration": 9}
    assert (site.service.ticks, site.service.is_open, site.made[0].is_closed) == (3, False, True)


def test_what_is_fixed_ends_the_hosting_at_once_when_no_rollout_is_in_progress(site):
    site.host(site.wants(cluster={"cpu": "2"}), nothing)
    assert site.service.ticks == 1
    site.host(nothing)
    assert site.service.ticks == 3  # it is made anew, and goes on


def test_what_is_fixed_waits_for_the_end_of_a_rollout(site):
    site.rolls()
    site.host(site.wants(cluster={"cpu": "2"}), nothing, nothing, site.ends, nothing)
    assert site.service.ticks == 4


def test_who_resumes_a_rollout_makes_the_service_anew_after_it(site):
    site.rolls()
    site.host(nothing, site.ends, nothing)
    assert site.service.ticks == 2


def test_what_cannot_be_meant_is_told_and_what_was_said_before_holds(site):
    site.host(site.wants(colour="red"), nothing)
    status, message = site.conditions()["Accepted"]
    assert (status, "spec.colour" in message) == ("False", True)
    assert site.service.ticks == 3


def test_what_cannot_be_meant_is_refused_later_when_the_api_server_is_away_and_ends_nothing(site):
    def odd_while_away():
        site.wants(colour="red")()
        site.cluster.is_away = True

    def back():
        site.cluster.is_away = False

    site.host(odd_while_away, back)
    assert site.conditions()["Accepted"][0] == "False"
    assert len(site.made) == 1


@pytest.mark.parametrize("failure", [PlatformError("The gateway is away."), OSError("disk full"), ValueError("oh")])
def test_a_tick_that_fails_is_told_and_the_next_one_comes(site, failure):
    site.service.failures = [failure]
    site.host(nothing, nothing)
    assert site.service.ticks == 3
    (said,) = [one for one in site.said if one.startswith("A tick failed")]
    assert str(failure) in said
    assert ("fault of Perch's" in said) is isinstance(failure, ValueError)
    assert site.conditions()["Ready"][0] == "True"


def test_what_cannot_be_mended_keeps_no_tick_from_coming(site):
    site.lost[:] = [PlatformError("The quota is used up.")] * 3
    site.host(nothing, nothing)
    assert site.service.ticks == 3
    assert site.conditions()["Ready"] == ("True", "The champion serves.")


def test_ticks_that_fail_are_told_in_a_condition_until_one_goes_well(site, events):
    site.service.failures = [PlatformError("The gateway is away.")]
    site.host()
    status, sentence = site.conditions()["Watched"]
    assert (status, "The gateway is away." in sentence) == ("False", True)
    assert ("Warning", "TickFailed", sentence) in events
    site.host(nothing)
    assert site.conditions()["Watched"][0] == "True"


def test_what_was_mended_is_told_on_the_object(site, events):
    site.lost[:] = ["Somebody else took version 1 away; it is made again."]
    site.host()
    assert ("Warning", "Mended", "Somebody else took version 1 away; it is made again.") in events


def test_ticks_come_a_second_apart_and_a_slow_one_is_not_made_up_for(site, monkeypatch):
    clock = iter([0.0, 0.1, 0.1, 5.0, 5.0, 5.2, 5.2])
    monkeypatch.setattr(hosting, "time", SimpleNamespace(monotonic=lambda: next(clock), time=lambda: 0.0))
    stopped = Stopped([nothing, nothing])
    asyncio.run(hosting.host(site, site.body, NAMESPACE, stopped, {}))
    assert stopped.waits == pytest.approx([0.9, 0.0, 0.8])


def test_an_object_that_the_perch_of_another_namespace_runs_is_left_to_it(site):
    site.saves(Standing("ad-clicks", 1, 1), operator="elsewhere")
    before, site.other_lives = site.cluster.get("modelservices", "ads"), True
    with pytest.raises(PlatformError, match=r"run by the Perch in namespace elsewhere\. Uninstall one of the two"):
        site.host()
    assert site.cluster.get("modelservices", "ads") == before
    assert not site.service.is_open
    site.other_lives = False
    site.host()
    assert site.cluster.get("modelservices", "ads")["status"]["operator"] == "perch-system"


def claim(name, since, champion=None):
    metadata = {"namespace": NAMESPACE, "name": name, "creationTimestamp": since}
    return Claim.of({"metadata": metadata, "status": {"champion": champion}})


def test_a_model_is_run_by_the_service_that_has_run_it_and_else_by_the_older_one(site):
    mine = claim("ads", "2026-01-02T00:00:00Z")
    site.claims = {"ad-clicks": [mine, claim("later", "2026-01-03T00:00:00Z")]}
    site.host()
    for better in (claim("older", "2026-01-01T00:00:00Z"), claim("served", "2026-01-03T00:00:00Z", champion=1)):
        site.claims = {"ad-clicks": [mine, better]}
        with pytest.raises(PlatformError, match=f"Model ad-clicks is run by ModelService {better.name}"):
            site.host()
        assert site.conditions()["Ready"][1].startswith("Model ad-clicks is run by")
    assert site.service.ticks == 1


def test_an_object_claims_its_model(site):
    (index,) = handlers(site)._indexing.get_all_handlers()
    assert index.id == "claims"  # else the daemons are not given it
    body = {"metadata": {"namespace": "shop", "name": "ads", "creationTimestamp": "t"}, "spec": SPEC}
    assert index.fn(body=body) == {"ad-clicks": Claim(True, "t", "shop", "ads")}


def test_a_state_that_is_damaged_is_told_where_people_look(site):
    site.saves(Standing("ad-clicks", 1, 1))
    status = site.cluster.get("modelservices", "ads")["status"]
    site.cluster.change("modelservices", "ads", status=status | {"engine": packed(Standing("a", 1, 1))[:-8]})
    with pytest.raises(PerchError, match=r"status.engine does not say where the service stands"):
        site.host()
    assert "status.engine does not say" in site.conditions()["Ready"][1]


def test_traffic_goes_to_the_champion_when_nobody_can_read_what_else_was_tried(site):
    site.saves(Standing("ad-clicks", 2, 1))
    status = site.cluster.get("modelservices", "ads")["status"]
    site.cluster.change("modelservices", "ads", status=status | {"engine": "?", "phase": "ramp"})
    with pytest.raises(PerchError):
        site.host()
    assert site.made[0].retreated == 2


def daemon(site):
    """The handler that kopf runs for each object."""
    (handler,) = handlers(site)._spawning.get_all_handlers()
    return handler.fn


def serve(site, *steps):
    stopped = Stopped(steps)
    asyncio.run(daemon(site)(body=site.body, name="ads", namespace=NAMESPACE, stopped=stopped, claims={}))
    return stopped


def test_who_waits_for_the_lease_hosts_nothing(site):
    site.lease.held = False

    def take():
        site.lease.held = True

    serve(site, nothing, nothing)
    assert site.made == []
    serve(site, nothing, take, nothing)
    assert site.service.ticks == 2


def test_an_object_that_cannot_be_hosted_is_told_and_tried_again(site, events):
    good, site.body["spec"] = site.body["spec"], {"colour": "red"}

    def mended():
        site.body["spec"] = good

    stopped = serve(site, nothing, mended, nothing)
    told = ("Warning", "NotServing", "ModelService ads cannot be meant: spec.colour: Extra inputs are not permitted.")
    assert events[:2] == [told, told]
    assert stopped.waits[:2] == [10.0, 10.0]
    assert site.service.ticks == 2


def test_who_is_superseded_reads_again_and_goes_on(site, events):
    serve(site, site.overtaken, nothing, nothing)
    assert len(site.made) == 2
    assert "NotServing" in {reason for _, reason, _ in events}
    assert site.conditions()["Ready"] == ("False", "No pod of version 1, the champion, is ready.")


def test_an_operator_that_leaves_gives_the_lease_back_and_stops_watching(site):
    async def story():
        lease = Lease(site.cluster.client, "perch-system", "a", lambda: 0.0)
        waiting = asyncio.create_task(asyncio.sleep(60))
        keeping = asyncio.create_task(lease.keep())
        for _ in range(10):
            await asyncio.sleep(0)
        assert lease.held
        site.lease, memo = lease, SimpleNamespace(tasks=[waiting, keeping])
        (leave,) = (one.fn for one in handlers(site)._activities.get_all_handlers() if one.fn.__name__ == "leave")
        await leave(memo=memo)
        await asyncio.gather(waiting, keeping, return_exceptions=True)
        return waiting.cancelled(), lease.held

    assert asyncio.run(story()) == (True, False)
    assert site.cluster.get("leases", "perch-operator", namespace="perch-system")["spec"]["holderIdentity"] == ""
