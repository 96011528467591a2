"""`perch events`: exports that training can read, and a user who is forgotten."""

import json
from contextlib import contextmanager

import httpx
import pandas as pd
import pyarrow.parquet as pq
import pytest

from perch.adapters.events import client as events_client
from perch.adapters.events.client import EventsClient
from perch.adapters.events.people import Attribute
from perch.adapters.events.store import EventStore
from perch.adapters.labels.collector_resources import CONTROL_KEY
from perch.cli.on_machine import OnMachine
from perch.collector.app import Collector
from perch.errors import PlatformError
from perch.signals.events import Outcome, Prediction
from perch.workload.data import read
from perch.workload.schema import CLICK_LOG

NOW_S = 1_700_000_000.0


class Served:
    """A collector that answers without a network: each request in a loop of its own."""

    def __init__(self, app):
        self.app = app

    def __call__(self, request):
        import asyncio

        async def ask():
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app)) as client:
                return await client.request(
                    request.method, request.url, content=request.content, headers=request.headers
                )

        answer = asyncio.run(ask())
        return httpx.Response(answer.status_code, content=answer.content)


@pytest.fixture
def store(tmp_path):
    with EventStore(tmp_path / "store", 14_400.0, lambda: NOW_S) as store:
        yield store


@pytest.fixture
def collector(store, monkeypatch):
    app = Collector(store, "p", "o", control_token="c", attributes_token="a", clock=lambda: NOW_S)
    plain = httpx.Client

    def connected(**options):
        return plain(**options | {"transport": httpx.MockTransport(Served(app))})

    monkeypatch.setattr(events_client.httpx, "Client", connected)

    @contextmanager
    def events(_):
        with EventsClient("http://collector", "c") as client:
            yield client

    monkeypatch.setattr(OnMachine, "events", events)
    yield app
    app._thread.shutdown()


def shown(i, **features):
    inputs = dict.fromkeys(CLICK_LOG.numeric, 1.0) | {name: f"{name} {i}" for name in CLICK_LOG.categorical}
    told = {**inputs, **features} if features is not None else None
    return Prediction(f"r{i}", "ads", "1", "stable", NOW_S - 100 + i, 0.1, 8, 3, f"user {i % 2}", told)


def test_an_export_has_a_row_for_each_prediction_with_its_inputs_and_what_came_of_it(perch, store, collector, tmp_path):
    store.add_predictions(
        [shown(0, price=None), shown(1), Prediction("r2", "ads", "2", "canary", NOW_S - 1, 0.2, 8, 0)]
    )
    store.add_outcomes([Outcome("r0", 1, NOW_S - 50, 0.5), Outcome("r0", 1, NOW_S - 40, 9.5, "purchase")])
    code, said = perch("events", "export", "--to", str(tmp_path / "log.parquet"))
    assert (code, "Wrote 3 events" in said) == (0, True), said
    log = pd.read_parquet(tmp_path / "log.parquet").set_index("request_id")
    assert log.click.tolist() == [1.0, 0.0, 0.0]
    assert log.click_time.iloc[0] == NOW_S - 50
    assert log.value.iloc[0] == 10.0
    assert log.user.fillna("").tolist() == ["user 0", "user 1", ""]
    assert log.price.isna().tolist() == [True, False, True]
    assert log.ad_id.fillna("").tolist() == ["ad_id 0", "ad_id 1", ""]
    assert pq.read_schema(tmp_path / "log.parquet").field("user_age_days").type == "double"


def test_what_the_click_log_of_training_asks_for_and_a_service_cannot_know_is_just_two_columns(
    perch, store, collector, tmp_path
):
    store.add_predictions([shown(i) for i in range(10)])
    path = tmp_path / "log.parquet"
    assert perch("events", "export", "--to", str(path), "--complete")[0] == 0
    log = pd.read_parquet(path)
    assert set(CLICK_LOG.columns) - set(log.columns) == {"explored", "group"}
    log.assign(explored=0.0, group="").to_parquet(path)
    (frame,) = read(path, "parquet")
    assert len(frame) == 10


def test_only_the_asked_time_and_only_complete_events_are_exported(perch, store, collector, tmp_path):
    store.add_predictions([shown(i) for i in range(5)])
    store.add_predictions([Prediction(f"bare {i}", "ads", "1", "stable", NOW_S - 98, 0.1, 1, 0) for i in range(3)])
    to = str(tmp_path / "log.parquet")
    since = pd.Timestamp(NOW_S - 98, unit="s").isoformat()
    assert "Wrote 6 events" in perch("events", "export", "--to", to, "--since", since)[1]
    assert "Wrote 3 events" in perch("events", "export", "--to", to, "--since", since, "--complete")[1]
    assert "Wrote 2 events" in perch("events", "export", "--to", to, "--until", since)[1]


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--since", "yesterday"], 2, "--since 'yesterday' is no time"),
        (["--until", "2001-01-01"], 4, "there are no events in that time"),
        (["--complete", "--until", "2001-01-01"], 4, "no events with inputs"),
    ],
)
def test_an_export_of_nothing_is_a_sentence_and_leaves_no_file(perch, collector, tmp_path, options, code, says):
    ended, said = perch("events", "export", "--to", str(tmp_path / "log.parquet"), *options)
    assert ended == code
    assert says in said
    assert not list(tmp_path.glob("*log.parquet*"))


@pytest.mark.parametrize("user", ["", " "])
def test_nobody_has_an_empty_id_and_no_collector_is_asked(perch, user):
    code, said = perch("events", "forget", user)
    assert code == 2
    assert "The user's id is empty" in said


def test_a_user_is_forgotten_and_the_exports_are_named(perch, store, collector, tmp_path):
    store.add_predictions([shown(i) for i in range(6)])
    store.keep_attributes([Attribute("user 1", "age", "71")])
    to = tmp_path / "log.parquet"
    perch("events", "export", "--to", str(to))
    code, said = perch("events", "forget", "user 1")
    assert code == 0
    assert "Deleted 3 predictions, 3 of them with inputs, 0 outcomes, 1 attributes" in said
    assert f"The user is also in the export {to}" in said
    assert "Deleted 0 predictions" in perch("events", "forget", "user 1")[1]


def ask(app, method, path, token, **rest):
    with httpx.Client(
        base_url="http://collector",
        headers={"authorization": f"Bearer {token}"},
        transport=httpx.MockTransport(Served(app)),
    ) as client:
        return client.request(method, path, **rest)


def test_what_a_person_asks_needs_the_control_token_and_attributes_one_of_their_own(store, collector):
    attributes = [{"user": "u", "name": "age", "value": "71"}]
    for token in ("p", "o", "a", ""):
        assert ask(collector, "POST", "/v1/forget", token, json={"user": "u"}).status_code == 401
        assert ask(collector, "GET", "/v1/events?since_s=0&until_s=1", token).status_code == 401
    for token in ("p", "o", "c", ""):
        assert ask(collector, "POST", "/v1/attributes", token, json=attributes).status_code == 401
    assert ask(collector, "POST", "/v1/attributes", "a", json=attributes).json() == {"accepted": 1}
    assert "71" not in ask(collector, "GET", "/metrics", "").text


def test_a_refusal_quotes_nothing_of_sensitive_attributes(collector, caplog):
    refused = ask(collector, "POST", "/v1/attributes", "a", json=[{"user": "u", "name": "age", "value": 71}])
    assert refused.status_code == 400
    assert "71" not in refused.text + caplog.text
    assert ask(collector, "POST", "/v1/forget", "c", json={"user": "u\0"}).status_code == 400
    assert ask(collector, "GET", "/v1/events?since_s=a&until_s=1", "c").status_code == 400


def test_without_their_tokens_these_ways_are_closed(store):
    app = Collector(store, "p", "o")
    for token in ("", "p", "o"):
        refused = ask(app, "POST", "/v1/forget", token, json={"user": "u"})
        assert refused.status_code == 403
        assert "without a token" in refused.json()["error"]
    app._thread.shutdown()


def test_a_cluster_of_an_older_perch_is_told_how_to_add_the_token(monkeypatch):
    from perch.operator import reach

    class Kubectl:
        namespace = "shop"

        def get(self, *_):
            return {"data": {"token": ""}}

    with pytest.raises(PlatformError, match=CONTROL_KEY), reach.events(Kubectl(), "ads"):
        pass


def test_what_was_earned_is_told_to_a_person(perch, store, collector, monkeypatch):
    monkeypatch.setattr("perch.cli.kpi.time.time", lambda: NOW_S)
    store.add_predictions([Prediction(f"e{i}", "ads", "1", "stable", NOW_S - 20_000 + i, 0.1, 8, 3) for i in range(10)])
    store.add_outcomes([Outcome("e1", 1, NOW_S - 19_990, value=3.0)])
    while store.tidy():
        pass
    code, said = perch("kpi", "--json")
    assert code == 0, said
    told = json.loads(said)
    assert told["lifts"] == []
    (earned,) = told["earned"]
    assert (earned["arm"], earned["version"], earned["requests"], earned["clicks"]) == ("stable", "1", 10, 1)
    assert earned["revenue"] == 3.0


def test_what_was_earned_is_no_business_of_who_has_another_token(collector):
    for token in ("p", "o", "a", ""):
        with EventsClient("http://collector", token) as client, pytest.raises(PlatformError, match="refused"):
            client.earnings(0.0)
