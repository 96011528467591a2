"""`/explain`: what a row's inputs add to its score, and what is refused."""

import asyncio
import json
import threading

import httpx
import numpy as np
import pytest

from perch.serving import attributing, explain
from perch.serving.app import Application
from perch.serving.attributing import Attributing
from perch.serving.context import Context
from perch.serving.faults import Faults, FaultSwitch, Skew
from perch.serving.meters import Meters
from perch.serving.predictor import Predictor
from perch.serving.question import Identity
from perch.serving.scoring import score_with
from perch.signals import names
from perch.workload.attribution import Attributor
from serving_process import tiny_scorer

MIRROR_PORT = 8081
SLATE = {"context": {"site": "a", "age": 0.5}, "candidates": [{"price": 0.1, "ad": "x"}, {"price": None, "ad": "?"}]}


class Process:
    def __init__(self, *, can_tell=True, features_share=0.0):
        scorer, identity = tiny_scorer(), Identity("ads", "3")
        context = Context(scorer.schema, features=scorer.transform.names, features_share=features_share)
        self.meters = Meters(identity, names.grid(25), scorer.schema, mirror_port=MIRROR_PORT)
        self.switch = FaultSwitch(score_with(scorer), scorer.schema)
        self.events, self.attributions = [], []
        self.app = Application(
            identity,
            scorer.schema,
            Predictor(
                identity,
                self.switch,
                self.meters,
                self.offer,
                context,
                attributing=Attributing(Attributor(scorer), ()),
            ),
            self.meters,
            self.switch,
            fault_token=None,
            rest=None,
            attributor=Attributor(scorer) if can_tell else None,
        )

    def offer(self, event, attributions):
        self.events.append(event)
        self.attributions.append(attributions)

    def send(self, path="/explain", method="POST", **body):
        return asyncio.run(self.sent(path, method, **body))

    async def sent(self, path="/explain", method="POST", port=8080, **body):
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://perch:{port}") as client:
            return await client.request(method, path, **(body or {"json": SLATE}))


def summed(explanation, part):
    return explanation["base"] + sum(explanation[part].values())


def test_inputs_and_features_sum_up_with_the_base_to_the_log_odds_of_the_score_that_is_ranked_by():
    process = Process()
    told = process.send().json()
    scores = process.send("/rank").json()["scores"]
    assert (told["model"], told["version"]) == ("ads", "3")
    assert [one["score"] for one in told["explanations"]] == scores
    for one in told["explanations"]:
        assert set(one["inputs"]) == {"price", "age", "site", "ad"}
        assert {"price", "site_log_odds", "site_log_count"} < set(one["features"])
        wanted = np.log(one["score"] / (1 - one["score"]))
        assert summed(one, "inputs") == pytest.approx(wanted)
        assert summed(one, "features") == pytest.approx(wanted)


def test_v1_explains_its_instances():
    rows = [{**SLATE["context"], **candidate} for candidate in SLATE["candidates"]]
    process = Process()
    response = process.send("/v1/models/ads:explain", json={"instances": rows})
    assert response.json() == process.send().json()
    assert response.headers["x-perch-version"] == "3"


def test_an_explanation_is_evidence_of_nothing():
    process = Process()
    process.send()
    process.send(content=b"nonsense")
    meters = [process.meters.of({b"x-perch-arm": arm.encode()}, 1) for arm in ("direct", "stable", "canary", "shadow")]
    assert [meter.started for meter in meters] == [0, 0, 0, 0]
    assert process.events == []


@pytest.mark.parametrize("path", ["/explain", "/v1/models/ads:explain"])
@pytest.mark.parametrize("copy", [{"port": MIRROR_PORT}, {"headers": {"x-perch-arm": "canary", "host": "ads-shadow"}}])
def test_no_copy_is_explained(monkeypatch, path, copy):
    monkeypatch.setattr(Attributor, "features_of", lambda self, values: pytest.fail("it was explained"))
    response = asyncio.run(Process().sent(path, **{"json": SLATE, **copy}))
    assert (response.status_code, response.json()["error"][:25]) == (421, "Copies are not explained:")


def test_what_the_model_was_given_is_explained():
    process = Process()
    process.switch.set(Faults(skew=Skew("price", "scale", 100.0)))
    skewed = process.send().json()["explanations"][0]
    process.switch.set(Faults())
    asked = {**SLATE, "candidates": [{"price": 10.0, "ad": "x"}]}
    assert process.send(json=asked).json()["explanations"][0] == skewed != process.send().json()["explanations"][0]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"nonsense", 400, "not JSON"),
        (b'{"context": {}, "candidates": []}', 400, "no rows"),
        (json.dumps({**SLATE, "context": {"site": 3, "age": 1}}).encode(), 400, "Column 'site' has a number"),
        (json.dumps({**SLATE, "candidates": SLATE["candidates"] * 51}).encode(), 413, "102 rows; at most 100"),
        (b" " * 1_000_001, 413, "larger than 1,000,000 bytes"),
    ],
)
@pytest.mark.parametrize("path", ["/explain"])
def test_what_cannot_be_explained_is_refused_in_a_sentence(path, body, status, says):
    response = Process().send(path, content=body)
    assert response.status_code == status
    assert says in response.json()["error"]


def test_a_model_that_cannot_tell_says_so():
    response = Process(can_tell=False).send()
    assert (response.status_code, response.json()["error"][:24]) == (501, "This kind of model does ")


def test_a_model_that_fails_is_told_to_caller_and_log(caplog):
    process = Process()
    process.switch.score = lambda columns: 1 / 0
    assert process.send().status_code == 500
    assert "for an explanation failed: division by zero" in caplog.text


def test_other_methods_and_models_are_refused():
    process = Process()
    assert process.send(method="GET").status_code == 405
    assert process.send("/v1/models/other:explain").status_code == 404


def test_the_event_of_a_sampled_request_tells_what_inputs_added_to_the_score_that_was_shown():
    process = Process(features_share=1.0)

    async def ask():
        response = await process.sent("/rank")
        return response.json()["order"], await process.attributions[0]

    order, attributions = asyncio.run(ask())
    (event,) = process.events
    assert event.shown == order[0]
    explained = process.send().json()["explanations"][event.shown]
    assert attributions == pytest.approx(explained["inputs"], abs=1e-6)


def test_no_request_waits_for_attributions_and_further_ones_are_counted_and_left_out(monkeypatch):
    done = threading.Event()
    added = Attributor.features_of
    monkeypatch.setattr(Attributor, "features_of", lambda self, values: done.wait() and added(self, values))
    process = Process(features_share=1.0)

    async def ask():
        try:
            async with asyncio.timeout(5):
                finished = [await process.sent("/rank") for _ in range(attributing.IN_WORK_LIMIT + 2)]
            in_work = [one for one in process.attributions if one is not None]
            assert not any(one.done() for one in in_work)
        finally:
            done.set()
        await asyncio.wait(in_work)
        await process.sent("/rank")
        return finished, [one is None for one in process.attributions]

    finished, left_out = asyncio.run(ask())
    assert {response.status_code for response in finished} == {200}
    assert left_out == [False] * attributing.IN_WORK_LIMIT + [True, True, False]
    assert len(process.events) == len(left_out)
    assert b"\nperch_events_unattributed_total 2\n" in process.meters.render()


def test_other_requests_and_copies_are_not_attributed():
    process = Process()
    process.send("/rank")
    copied = Process(features_share=1.0)
    copied.send("/rank", json=SLATE, headers={"x-perch-arm": "canary", "host": "ads-shadow"})
    assert [*process.attributions, *copied.attributions] == [None, None]
    assert copied.events[0].arm == "shadow"


def test_a_model_that_scores_but_cannot_be_attributed_answers_all_the_same(monkeypatch, caplog):
    monkeypatch.setattr(Attributor, "features_of", lambda self, values: 1 / 0)
    process = Process(features_share=1.0)

    async def ask():
        response = await process.sent("/rank")
        await asyncio.wait(process.attributions)
        return response

    assert asyncio.run(ask()).status_code == 200
    assert len(process.events) == 1
    assert "division by zero" in caplog.text
    assert process.meters.events_unattributed == 1


def test_few_wait_at_a_time(monkeypatch):
    monkeypatch.setattr(explain, "WAITING_LIMIT", 1)
    process = Process()

    async def both():
        return await asyncio.gather(process.sent(), process.sent())

    assert sorted(response.status_code for response in asyncio.run(both())) == [200, 503]
    assert process.send().status_code == 200


def test_a_caller_that_sends_slowly_holds_no_place(monkeypatch):
    monkeypatch.setattr(explain, "WAITING_LIMIT", 1)
    process = Process()

    async def ask():
        begun, rest = asyncio.Event(), asyncio.Event()

        async def slowly():
            begun.set()
            await rest.wait()
            yield json.dumps(SLATE).encode()

        slow = asyncio.create_task(process.sent(content=slowly()))
        await begun.wait()
        quick = await process.sent()
        rest.set()
        return quick.status_code, (await slow).status_code

    assert asyncio.run(ask()) == (200, 200)
