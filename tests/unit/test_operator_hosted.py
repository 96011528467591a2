"""An object's wishes: what is released, what is refused with a sentence, and what a person may ask for."""

import asyncio
import json
from types import SimpleNamespace

import pytest

from core_market import Version
from perch.adapters.registry.port import Role
from perch.adapters.traffic.gateway import SETTLING_S
from perch.core.types import Action, Phase
from perch.errors import PerchError
from perch.operator.hosted import Hosted
from perch.operator.wish import Wish, policy_of
from perch.rollout import running as running_module
from perch.settings import ModelService, Spec
from service_world import FAST, World, register, registered


class Board:
    """The object's status, in memory."""

    def __init__(self, service):
        self.conditions, self.request = {}, None
        self.phase, self._service = None, service

    @property
    def told(self):
        phase = self.phase or (self._service().status().phase if self._service().rolling else "serving")
        return SimpleNamespace(phase=phase, champion=1)

    async def note(self, generation, condition):
        await asyncio.sleep(0)  # others go on while the API server is written to
        told = (condition.status, condition.message)
        is_new = self.conditions.get(condition.type) != told
        self.conditions[condition.type] = told
        return is_new

    async def acknowledge(self, request):
        self.request = request


class Cluster:
    """A world whose service follows an object."""

    def __init__(self, folder):
        registry = registered(folder, 1, 2, 3)
        registry.assign("ad-clicks", Role.CHAMPION, 1)
        self.world = World(registry, folder / "state")
        self.board, self.told = Board(lambda: self.world.service), []
        self.renewed = self.retreated = None
        self.wish = Wish(ModelService(spec=Spec(model="ad-clicks", policy=FAST)), generation=1, request=None)
        self.open()

    def open(self):
        parts = SimpleNamespace(service=self.world.service, store=self.board, adopt=self.adopt, retreat=self.retreat)
        self.hosted = Hosted(parts, lambda *told: self.told.append(told))
        self.world.loop.run(self.hosted.open(self.wish, lambda: None))

    async def adopt(self, *, renew):
        self.renewed = renew

    async def retreat(self, champion):
        self.retreated = champion

    def wants(self, version, **spec):
        declared = ModelService(spec=Spec(model="ad-clicks", version=version, policy=FAST, **spec))
        self.wish = Wish(declared, self.wish.generation + 1, self.wish.request)

    def asks(self, verb, number, **more):
        request = json.dumps({"id": str(number), "verb": verb} | more)
        self.wish = Wish(self.wish.declaration, self.wish.generation, request)

    def run(self, seconds, until=lambda: False):
        for _ in range(seconds):
            self.world.second()
            self.world.loop.run(self.step())
            if until():
                return

    async def step(self):
        """One step, and what it has begun beside: the world's seconds are short."""
        await self.hosted.step(self.wish, self.world.now_s)
        await self.world.service._settling.finish()
        if self.hosted._releasing is not None:
            await asyncio.wait({self.hosted._releasing}, timeout=0.2)

    @property
    def status(self):
        return self.world.service.status()


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    monkeypatch.setattr(running_module, "_DRAIN_S", 0.0)
    (tmp_path / "state").mkdir()
    cluster = Cluster(tmp_path)
    with cluster.world:
        yield cluster
        cluster.world.loop.run(cluster.hosted.close())


def test_a_service_that_is_wished_for_serves_its_champion(cluster):
    cluster.run(3)
    assert cluster.board.conditions["Ready"] == ("True", "The champion serves.")
    assert cluster.status.arms == {"stable": 1}


def test_a_champion_without_a_pod_is_told_and_so_is_its_return(cluster):
    cluster.run(1)
    cluster.world.fleet.kill(1)
    cluster.run(1)
    assert cluster.board.conditions["Ready"] == ("False", "No pod of version 1, the champion, is ready.")
    cluster.world.fleet.revive(1)
    cluster.run(1)
    assert cluster.board.conditions["Ready"][0] == "True"


def test_a_baseline_that_does_not_exist_is_told_in_a_condition(cluster):
    cluster.world.service._declared_baseline = 7
    with pytest.raises(PerchError):
        cluster.open()
    status, sentence = cluster.board.conditions["Ready"]
    assert status == "False"
    assert "no version 7" in sentence
    assert cluster.board.conditions["Watched"][0] == "False"
    assert cluster.retreated is None  # no canary has traffic


def test_a_canary_that_nobody_can_watch_gives_its_traffic_back(cluster):
    cluster.world.service._declared_baseline = 7
    cluster.board.phase = "ramp"
    with pytest.raises(PerchError):
        cluster.open()
    assert cluster.retreated == 1


def test_versions_are_brought_up_to_date_but_never_in_mid_rollout(cluster):
    assert cluster.renewed
    cluster.wants(2)
    cluster.run(3)
    assert cluster.status.rollout == "v2-1"
    cluster.open()
    assert not cluster.renewed


def test_another_version_than_the_champion_is_released_and_becomes_it(cluster):
    cluster.run(3)
    cluster.wants(2)
    cluster.run(200, until=lambda: cluster.status.phase is Phase.DONE)
    assert cluster.board.conditions["Accepted"] == ("True", "Rollout v2-1 has begun.")
    assert (cluster.status.outcome, cluster.world.service.champion) == (Action.PROMOTE, 2)


def test_people_see_what_was_decided_as_events(cluster):
    cluster.run(3)
    cluster.wants(2)
    cluster.run(200, until=lambda: cluster.status.phase is Phase.DONE)
    reasons = [reason for reason, _ in cluster.told]
    assert reasons[0] == "Released"
    assert reasons[1:-2] == ["WeightsChanged"] * (len(reasons) - 3)
    assert reasons[-2:] == ["Promoted", "Ended"]
    assert cluster.told[-1][1] == cluster.status.sentence


def test_what_came_home_is_not_tried_again_until_a_person_says_so(cluster):
    cluster.world.behaviour[2] = Version(error_rate=0.3)
    cluster.run(3)
    cluster.wants(2)
    cluster.run(150)
    assert (cluster.status.rollout, cluster.status.outcome) == ("v2-1", Action.ROLL_BACK)
    cluster.world.behaviour[2] = Version()
    cluster.asks("retry", 1)
    cluster.run(3)
    assert cluster.board.request == "1"
    assert "Version 2 is in quarantine" in cluster.board.conditions["Accepted"][1]
    cluster.asks("retry", 2, override=True)
    cluster.run(3)
    assert cluster.board.request == "2"
    assert cluster.status.rollout == "v2-2"


def test_a_version_in_quarantine_is_refused_once_with_a_sentence_until_the_wish_changes(cluster):
    cluster.world.registry.quarantine("ad-clicks", 3, "It failed.")
    cluster.run(3)
    cluster.wants(3)
    cluster.run(10)
    status, sentence = cluster.board.conditions["Accepted"]
    assert (status, cluster.world.service.rolling) == ("False", False)
    assert "Version 3 is in quarantine" in sentence
    assert cluster.told == [("Refused", sentence)]
    cluster.wants(2)
    cluster.run(3)
    assert cluster.board.conditions["Accepted"] == ("True", "Rollout v2-1 has begun.")


def test_an_unknown_version_is_told_and_the_champion_serves_on(cluster):
    cluster.wants(9)
    cluster.run(5)
    assert "no version 9" in cluster.board.conditions["Accepted"][1]
    assert cluster.status.arms == {"stable": 1}


def test_a_release_that_dies_of_a_fault_of_ours_is_told_and_tried_again(cluster, monkeypatch):
    release, failures = cluster.world.service.release, [ValueError("oh")]

    async def fragile(*given, **named):
        if failures:
            raise failures.pop()
        return await release(*given, **named)

    monkeypatch.setattr(cluster.world.service, "release", fragile)
    cluster.run(3)
    cluster.wants(2)
    cluster.run(3)
    assert "A fault of Perch's: ValueError('oh')" in cluster.board.conditions["Accepted"][1]
    cluster.run(15)
    assert cluster.board.conditions["Accepted"] == ("True", "Rollout v2-1 has begun.")


def test_a_retry_that_insists_goes_on_insisting_when_something_around_it_fails(cluster):
    cluster.world.registry.quarantine("ad-clicks", 3, "It failed.")
    cluster.run(3)
    cluster.wants(3)
    cluster.run(3)
    cluster.world.fleet._broken = {3}
    cluster.asks("retry", 1, override=True)
    cluster.run(3)
    assert "does not come up" in cluster.board.conditions["Accepted"][1]
    cluster.world.fleet._broken = set()
    cluster.run(15)
    assert cluster.board.conditions["Accepted"] == ("True", "Rollout v3-1 has begun.")


def test_a_retry_is_acknowledged_only_when_its_rollout_is_recorded(cluster):
    cluster.world.behaviour[2] = Version(error_rate=0.3)
    cluster.run(3)
    cluster.wants(2)
    cluster.run(100, until=lambda: cluster.status.phase is Phase.DONE)
    cluster.world.behaviour[2] = Version()
    cluster.asks("retry", "again", override=True)
    cluster.world.second()
    cluster.world.loop.run(cluster.hosted._follow_request(cluster.wish, cluster.world.now_s))
    assert cluster.board.request is None
    cluster.open()  # the operator was killed meanwhile
    cluster.run(5)
    assert cluster.board.request == "again"
    assert cluster.world.service.rolling


def test_a_version_that_is_registered_only_later_is_not_released_by_an_old_wish(cluster):
    cluster.run(3)
    cluster.wants(4)
    cluster.run(3)
    register(cluster.world.registry, cluster.world.folder.parent, 4)
    cluster.run(20)
    assert not cluster.world.service.rolling


def test_what_failed_around_a_release_is_tried_again(cluster):
    register(cluster.world.registry, cluster.world.folder.parent, 4)
    cluster.world.fleet._broken = {4}
    cluster.run(3)
    cluster.wants(4)
    cluster.run(3)
    assert "does not come up" in cluster.board.conditions["Accepted"][1]
    cluster.world.fleet._broken = set()
    cluster.run(15)
    assert cluster.board.conditions["Accepted"] == ("True", "Rollout v4-1 has begun.")


def test_a_wish_that_comes_back_is_asked_again(cluster):
    cluster.world.behaviour[2] = Version(error_rate=0.3)
    cluster.run(3)
    cluster.wants(2)
    cluster.run(100)
    cluster.wants(1)
    cluster.run(2)
    cluster.wants(2)
    cluster.run(3)
    assert "Version 2 is in quarantine" in cluster.board.conditions["Accepted"][1]


def test_a_wish_that_changes_in_mid_rollout_waits_for_its_end(cluster):
    cluster.run(3)
    cluster.wants(2)
    cluster.run(5)
    cluster.wants(3)
    cluster.run(5)
    assert cluster.status.rollout == "v2-1"
    cluster.run(300, until=lambda: cluster.status.rollout == "v3-1")
    assert cluster.world.service.champion == 2


def test_a_persons_request_is_taken_on_once(cluster):
    cluster.run(3)
    cluster.wants(2)
    cluster.run(4)
    cluster.asks("rollback", "a")
    cluster.run(3)
    assert cluster.status.outcome is Action.ROLL_BACK
    assert "a person asked for it" in cluster.status.sentence
    cluster.asks("retry", "b")
    cluster.run(10)
    assert (cluster.status.rollout, cluster.board.request) == ("v2-2", "b")
    assert cluster.world.service.rolling


def test_a_wish_that_comes_with_a_request_to_insist_is_followed_once(cluster):
    cluster.world.registry.quarantine("ad-clicks", 2, "It failed.")
    cluster.run(3)
    cluster.wants(2)
    cluster.asks("retry", 1, override=True)
    cluster.run(4)
    assert cluster.status.rollout == "v2-1"
    cluster.asks("rollback", 2)
    cluster.run(5)
    assert cluster.board.conditions["Accepted"] == ("True", "A person asked for it: rollback.")
    assert [reason for reason, _ in cluster.told].count("Released") == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        '{"id": "a", "verb": []}',
        '{"id": 3, "verb": "pause"}',
        '{"id": "a", "verb": "dance"}',
    ],
)
def test_a_request_that_cannot_be_read_is_told_and_changes_nothing(cluster, text):
    cluster.wish = Wish(cluster.wish.declaration, 1, text)
    cluster.run(2)
    status, sentence = cluster.board.conditions["Accepted"]
    assert (status, cluster.board.request) == ("False", None)
    assert sentence.startswith("The annotation perch.dev/request holds no request: ")
    assert "dance" not in text or "'dance'" in sentence


def test_a_request_that_cannot_be_read_is_told_once_and_speaks_against_no_later_release(cluster):
    cluster.wish = Wish(cluster.wish.declaration, 1, "hello")
    cluster.run(3)
    cluster.wants(2)
    cluster.run(10)
    assert cluster.board.conditions["Accepted"] == ("True", "Rollout v2-1 has begun.")


def test_a_request_without_a_rollout_is_refused_with_a_sentence(cluster):
    cluster.asks("pause", 1)
    cluster.run(2)
    assert cluster.board.conditions["Accepted"] == (
        "False",
        "No rollout is in progress, so there is nothing to pause.",
    )


def test_an_operator_that_starts_anew_goes_on_where_the_last_one_was(cluster):
    cluster.run(3)
    cluster.wants(2)
    cluster.run(8)
    before = cluster.status
    cluster.world.start()
    cluster.open()
    cluster.run(1)
    assert (cluster.status.rollout, cluster.world.service.rolling) == (before.rollout, True)
    cluster.run(200, until=lambda: cluster.status.phase is Phase.DONE)
    assert cluster.world.service.champion == 2


def test_the_split_is_judged_only_when_a_gateway_had_time_to_follow(cluster):
    assert policy_of(cluster.wish).settling_s == SETTLING_S
