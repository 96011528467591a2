"""What the collector answers when its store fails, and when it is asked for labels."""

import asyncio
import time

import httpx
import pytest

from event_stores import sql
from perch import asgi
from perch.adapters.events.store import EventStore
from perch.collector.app import Collector
from perch.signals.events import Outcome, Prediction


def test_a_store_that_fails_is_503_so_that_the_batch_is_sent_again(tmp_path):
    outcome = {"request_id": "r1", "label": 1, "time_s": time.time()}

    async def tell(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://collector") as client:
            return await client.post("/v1/outcomes", json=[outcome], headers={"authorization": "Bearer of-outcomes"})

    with EventStore(tmp_path / "store", 10.0) as store:
        app = Collector(store, "of-predictions", "of-outcomes")
        sql(store, "CREATE TRIGGER broken BEFORE INSERT ON outcomes BEGIN SELECT RAISE(ABORT, 'disk broken'); END")
        failed = asyncio.run(tell(app))
        assert failed.status_code == 503
        assert "disk broken" in failed.json()["error"]
        sql(store, "DROP TRIGGER broken")
        assert asyncio.run(tell(app)).status_code == 200
        assert store.summary().pending == 1
        app._thread.shutdown()


def ask(store, query, token="of-predictions", labels_digest=None):
    """What `GET /v1/labels` answers."""
    app = Collector(store, "of-predictions", "of-outcomes", labels_digest)

    async def get():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://collector") as client:
            return await client.get(f"/v1/labels?{query}", headers={"authorization": f"Bearer {token}"})

    answer = asyncio.run(get())
    app._thread.shutdown()
    return answer


@pytest.fixture
def store(tmp_path):
    with EventStore(tmp_path / "store", 10.0, lambda: 30.0) as store:
        yield store


def test_labels_are_asked_for_by_versions_begin_and_cursor(store):
    arms = (("r1", "1", "stable"), ("r1", "2", "shadow"), ("r2", "2", "canary"))
    store.add_predictions([Prediction(r, "ads", version, arm, 5.0, 0.1, 1, 0) for r, version, arm in arms])
    store.add_outcomes([Outcome("r2", 1, 6.0)])
    told = ask(store, "stable=1&canary=2&since_s=1.5").json()
    assert told["outcomes"]["cohorts"] == [{"share": 0.5, "canary": 1, "stable": 0}]
    assert sum(told["outcomes"]["paired"]) == 1
    assert told["cursor"] == {"clicks": 1, "paired_s": 20.0, "judged_s": 0.0}
    again = ask(store, "stable=1&canary=2&since_s=1.5&clicks=1&paired_s=20.0").json()
    assert again == {"outcomes": {"cohorts": [], "paired": []}, "cursor": told["cursor"], "judgements": []}


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", "missing required field `stable`"),
        ("stable=1&canary=2", "`since_s`"),
        ("stable=1&canary=2&since_s=soon", "`$.since_s`"),
        ("stable=1&canary=2&since_s=nan", "since_s"),
        ("stable=1&canary=2&since_s=1&clicks=1.5", "`$.clicks`"),
        ("stable=1&canary=2&since_s=1&paired_s=inf", "paired_s"),
        ("stable=1&canary=2&since_s=1&cursor=3", "unknown field `cursor`"),
        ("stable=%ff&canary=2&since_s=1&%fe", "stable"),
    ],
)
def test_a_query_that_cannot_be_meant_is_400_and_says_what_it_takes(store, query, says):
    refused = ask(store, query)
    assert refused.status_code == 400, refused.text
    sentence = refused.json()["error"]
    assert says in sentence
    assert "It takes stable and canary (versions), since_s" in sentence


@pytest.mark.parametrize("token", ["of-outcomes", "", "guessed"])
def test_labels_need_the_token_of_predictions(store, token):
    assert ask(store, "stable=1&canary=2&since_s=1", token).status_code == 401


def test_labels_may_have_a_token_of_their_own_of_which_the_collector_knows_the_digest_only(store):
    query, of_labels = "stable=1&canary=2&since_s=1", asgi.digest("of-labels")
    assert ask(store, query, "of-labels", labels_digest=of_labels).status_code == 200
    for other in ("of-predictions", "of-outcomes", of_labels, ""):
        assert ask(store, query, other, labels_digest=of_labels).status_code == 401
