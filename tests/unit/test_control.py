"""The control server: who may speak to it, what it takes, and how it refuses."""

import asyncio
from dataclasses import dataclass, replace
from types import SimpleNamespace

import httpx
import pytest

from perch.core.codec import loads
from perch.core.freshness_types import State
from perch.core.inputs import State as Inputs
from perch.core.types import Command
from perch.drift.remembered import Remembered as Drift
from perch.errors import RolloutError
from perch.freshness.remembered import Remembered
from perch.local.control import control_app
from perch.rollout.meters import Meters
from perch.settings import ModelService, to_yaml
from perch.settings.schema import Events
from service_world import World, registered

TOKEN = "a-token"
ALERTS_TOKEN = "of-alerts"


@dataclass
class Running:
    """What the control server asks of a platform."""

    service: object
    fleet: object
    declaration: ModelService
    freshness: object = None
    drift: object = None
    meters: object = None
    token: str = TOKEN
    alerts_token: str = ALERTS_TOKEN
    route_url: str = "http://127.0.0.1:8080"
    collector_url: str = "http://127.0.0.1:8081"


@pytest.fixture
def world(tmp_path):
    registry = registered(tmp_path, 1, 2)
    with World(registry, tmp_path / "service") as world:
        world.tick()
        yield world


@pytest.fixture
def ask(world):
    platform = Running(world.service, world.fleet, ModelService())
    app = control_app(platform, lambda: world.now_s)

    async def request(method, path, **options):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://control") as client:
            return await client.request(method, path, **options)

    def ask(method, path, token=TOKEN, **options):
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return world.loop.run(request(method, path, headers=headers, **options))

    ask.platform = platform
    return ask


def declaration(**spec):
    service = ModelService()
    return to_yaml(service.model_copy(update={"spec": service.spec.model_copy(update=spec)}))


def refusal(answer):
    assert answer.headers["content-type"] == "application/json"
    return answer.status_code, answer.json()["exit_code"], answer.json()["error"]


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/status"), ("POST", "/rollout"), ("POST", "/rollout/pause")])
def test_nobody_speaks_without_the_token(ask, world, token, method, path):
    status, _, sentence = refusal(ask(method, path, token=token))
    assert status == 401
    assert "token" in sentence
    assert not world.service.rolling


def test_the_status_says_who_serves_and_where(ask):
    told = ask("GET", "/status").json()
    assert told["arms"] == {"stable": 1}
    assert told["weights"]["stable"] == 1
    assert told["rollout"] is None
    assert told["route"] == "http://127.0.0.1:8080"


def test_a_release_begins_a_rollout_with_the_declared_policy(ask, world):
    answer = ask("POST", "/rollout", json={"declaration": declaration(version=2)})
    assert answer.json() == {"rollout": "v2-1"}
    assert world.service.rolling
    assert ask("GET", "/status").json()["phase"] == "shadow"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"declaration": 3}', b'{"declaration": "", "overide": true}', b"\xff"]
)
def test_a_malformed_release_is_refused(ask, world, body):
    status, exit_code, sentence = refusal(ask("POST", "/rollout", content=body))
    assert (status, exit_code) == (400, 2)
    assert sentence.startswith("The request is malformed")
    assert not world.service.rolling


@pytest.mark.parametrize(
    ("text", "exit_code", "says"),
    [
        ("spec: [", 3, "is not YAML"),
        (declaration(), 2, "wants no version"),
        (declaration(version=1), 8, "champion already"),
        (declaration(version=99), 6, "no version 99"),
        (declaration(version=2, model="other"), 3, "spec.model changed"),
        (declaration(version=2, attribution_window_s=1.0), 3, "spec.attributionWindowS changed"),
        (declaration(version=2, events=Events(featuresShare=0.2)), 3, "spec.events changed"),
    ],
)
def test_what_cannot_be_released_is_refused_by_its_class(ask, world, text, exit_code, says):
    status, code, sentence = refusal(ask("POST", "/rollout", json={"declaration": text}))
    assert (status, code) == (409, exit_code)
    assert says in sentence
    assert not world.service.rolling


def test_a_version_in_quarantine_needs_the_override(ask, world):
    world.registry.quarantine("ad-clicks", 2, "It failed.")
    wish = {"declaration": declaration(version=2)}
    assert "in quarantine: It failed." in refusal(ask("POST", "/rollout", json=wish))[2]
    assert ask("POST", "/rollout", json=wish | {"override": True}).status_code == 200


def test_of_two_releases_at_once_one_begins(ask, world):
    from perch.core import Policy
    from perch.errors import RolloutError

    async def both():
        wishes = [world.service.release(2, Policy(), world.now_s) for _ in range(2)]
        return await asyncio.gather(*wishes, return_exceptions=True)

    began, refused = world.loop.run(both())
    assert began == "v2-1"
    assert isinstance(refused, RolloutError)


def test_a_retry_releases_the_last_version_that_was_not_promoted_and_says_of_which(ask, world):
    ask("POST", "/rollout", json={"declaration": declaration(version=2)})
    world.service.command(Command.ROLL_BACK)
    world.tick()
    answer = ask("POST", "/rollout/retry", json={"declaration": declaration()})
    assert answer.json() == {"rollout": "v2-2", "retry_of": "v2-1"}
    world.service.command(Command.ROLL_BACK)
    world.tick()
    world.registry.quarantine("ad-clicks", 2, "It failed.")
    wish = {"declaration": declaration()}
    assert "in quarantine: It failed." in refusal(ask("POST", "/rollout/retry", json=wish))[2]
    assert ask("POST", "/rollout/retry", json=wish | {"override": True}).json()["retry_of"] == "v2-2"


def test_a_retry_is_read_and_refused_like_a_release(ask, world):
    assert refusal(ask("POST", "/rollout/retry", content=b"{"))[:2] == (400, 2)
    assert refusal(ask("POST", "/rollout/retry", json={"declaration": "spec: ["}))[1] == 3
    nothing = refusal(ask("POST", "/rollout/retry", json={"declaration": declaration()}))
    assert nothing[1] == 8
    assert "nothing to retry" in nothing[2]
    assert ask("POST", "/rollout/retry", token=None).status_code == 401


@pytest.mark.parametrize("command", [command.value for command in Command])
def test_commands_reach_the_service(ask, world, command):
    ask("POST", "/rollout", json={"declaration": declaration(version=2)})
    assert ask("POST", f"/rollout/{command}").status_code == 202
    assert world.service._command == command


def test_a_command_without_a_rollout_is_refused(ask):
    assert refusal(ask("POST", "/rollout/pause")) == (
        409,
        8,
        "No rollout is in progress, so there is nothing to pause.",
    )


def test_an_unknown_command_is_refused_with_the_known_ones(ask):
    status, exit_code, sentence = refusal(ask("POST", "/rollout/abort"))
    assert (status, exit_code) == (409, 2)
    assert "'abort'" in sentence
    assert "roll_back" in sentence


# --- freshness ------------------------------------------------------------------------------------------------------


@dataclass
class Watched:
    """Hears alerts, and takes a wish on unless it insists on nothing."""

    remembered: Remembered
    heard: list
    wishes: list

    def wish(self, *, override):
        if not override:
            raise RolloutError("The last run was started 60 s ago: cool-down. Insist with --override.")
        self.wishes.append(override)

    async def look(self):
        self.remembered = replace(self.remembered, state=State(sentence="A person asked for it."))

    async def hear(self, alerts):
        self.heard += alerts


NOTIFICATION = {
    "version": "4",
    "alerts": [
        {"status": "firing", "labels": {"alertname": "X", "model": "ad-clicks"}, "fingerprint": "a", "startsAt": "1"},
        {"status": "firing", "labels": {"alertname": "X", "model": "news"}, "fingerprint": "b", "startsAt": "1"},
    ],
}


@pytest.fixture
def watched(world, ask):
    ask.platform.freshness = Watched(Remembered(), [], [])
    return ask.platform.freshness


def test_how_fresh_the_model_is_goes_over_the_wire_without_loss(ask, watched):
    watched.remembered = Remembered(State(version=3, lost_clicks=0.1 + 0.2), 1.5, 2.5, "ads-retrain-1")
    assert loads(Remembered, ask("GET", "/freshness").text) == watched.remembered


def test_how_inputs_stand_goes_over_the_wire_without_loss(ask):
    remembered = Drift(Inputs(champion=3, looked_s=1.5), "Inputs moved.")
    ask.platform.drift = SimpleNamespace(remembered=remembered)
    assert loads(Drift, ask("GET", "/drift").text) == remembered


def test_a_person_may_ask_for_a_run_and_is_told_what_was_decided(ask, watched):
    assert ask("POST", "/retrain", json={"override": True}).json() == {"sentence": "A person asked for it."}
    assert watched.wishes == [True]


def test_a_run_that_is_not_due_is_refused(ask, watched):
    assert refusal(ask("POST", "/retrain", json={})) == (
        409,
        8,
        "The last run was started 60 s ago: cool-down. Insist with --override.",
    )


def test_alerts_of_the_service_are_heard(ask, watched):
    assert ask("POST", "/alerts", token=ALERTS_TOKEN, json=NOTIFICATION).json() == {"heard": 1}
    assert [alert.number for alert in watched.heard] == ["a@1"]


@pytest.mark.parametrize("token", [None, "", "guessed", TOKEN])
def test_alerts_need_their_own_token(ask, watched, token):
    assert refusal(ask("POST", "/alerts", token=token, json=NOTIFICATION))[0] == 401
    assert not watched.heard


@pytest.mark.parametrize("path", ["/retrain", "/freshness", "/rollout/pause"])
def test_the_token_of_alerts_opens_nothing_else(ask, watched, path):
    method = "GET" if path == "/freshness" else "POST"
    assert refusal(ask(method, path, token=ALERTS_TOKEN, json={"override": True}))[0] == 401
    assert not watched.wishes


def test_a_notification_of_another_version_is_400(ask, watched):
    status, _, sentence = refusal(ask("POST", "/alerts", token=ALERTS_TOKEN, json=NOTIFICATION | {"version": "3"}))
    assert status == 400
    assert "version" in sentence


def test_where_nobody_watches_that_is_said(ask):
    assert "Nobody watches over the age of the model here." in refusal(ask("GET", "/freshness"))[2]


def test_the_page_of_metrics_needs_no_token(world):
    meters = Meters(lambda: True)
    app = control_app(Running(world.service, world.fleet, ModelService(), meters=meters), lambda: world.now_s)

    async def page():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://control") as client:
            return await client.get("/metrics")

    answer = asyncio.run(page())
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "perch_operator_lease_held 1.0" in answer.text
