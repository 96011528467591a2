"""The control server: who may speak to it, what it takes, and how it refuses."""

import asyncio
from dataclasses import dataclass

import httpx
import pytest

from perch.adapters.registry.memory import MemoryRegistry
from perch.adapters.registry.port import Role
from perch.core.types import Command
from perch.local.control import control_app
from perch.settings import ModelService, to_yaml
from service_world import World, register

TOKEN = "a-token"


@dataclass
class Running:
    """What the control server asks of a platform."""

    service: object
    fleet: object
    declaration: ModelService
    token: str = TOKEN
    route_url: str = "http://127.0.0.1:8080"
    collector_url: str = "http://127.0.0.1:8081"


@pytest.fixture
def world(tmp_path):
    registry = MemoryRegistry()
    for number in (1, 2):
        register(registry, tmp_path, number)
    registry.assign("ad-clicks", Role.BASELINE, 1)
    with World(registry, tmp_path / "service") as world:
        world.tick()
        yield world


@pytest.fixture
def ask(world):
    app = control_app(Running(world.service, world.fleet, ModelService()), lambda: world.now_s)

    async def request(method, path, **options):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://control") as client:
            return await client.request(method, path, **options)

    def ask(method, path, token=TOKEN, **options):
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return world.loop.run(request(method, path, headers=headers, **options))

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
