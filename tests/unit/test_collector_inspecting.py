"""Samples go to who may see inputs, and what was found of them stands on the page for Prometheus."""

import asyncio

import httpx
import msgspec
import pytest

from perch.adapters.events.store import EventStore
from perch.collector.app import Collector
from perch.signals.events import Prediction
from perch.signals.inspection import ColumnDrift, FeatureMatch, Inspection

HOUR = "/v1/sample?version=1&from_s=1000&until_s=4600"
FOUND = Inspection(
    "ads",
    "1",
    4_600.0,
    200,
    [ColumnDrift("age", 0.4, 0.125), ColumnDrift("price", 0.05, 0.125)],
    [FeatureMatch("age", 200, 200), FeatureMatch("price", 200, 0)],
)


@pytest.fixture
def ask(tmp_path):
    with EventStore(tmp_path / "store", 6_000.0, lambda: 4_600.0) as store, asyncio.Runner() as runner:
        told = [(f"r{i}", "ads", "1", "stable", 1_000.0 + 12 * i, 0.1, 1, 0) for i in range(300)]
        store.add_predictions([Prediction(*one, features={"age": 1.0}, served={"age": 1.0}) for one in told])
        app = Collector(store, "token", "feedback", judge_token="judge")
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://collector")

        def ask(method, path, token="judge", **body):
            return runner.run(client.request(method, path, headers={"authorization": f"Bearer {token}"}, **body))

        yield ask
        app._thread.shutdown()


def test_a_sample_is_handed_out_to_the_judge_and_to_nobody_else(ask):
    assert len(ask("GET", HOUR).json()) == 300
    assert [ask("GET", HOUR, token).status_code for token in ("token", "feedback", "")] == [401, 401, 401]


@pytest.mark.parametrize("query", ["", "?version=1&from_s=nan&until_s=5", "?version=1&from_s=0", "?version=1&a=b"])
def test_a_query_that_cannot_be_meant_is_refused_with_what_it_takes(ask, query):
    answer = ask("GET", f"/v1/sample{query}")
    assert answer.status_code == 400
    assert "It takes version, from_s and until_s" in answer.json()["error"]


def test_what_was_found_stands_on_the_page(ask):
    assert ask("POST", "/v1/inspections", content=msgspec.json.encode(FOUND)).status_code == 200
    page = ask("GET", "/metrics").text.splitlines()
    of = 'model="ads",version="1"'
    assert f"perch_inspected_timestamp_seconds{{{of}}} 4600.0" in page
    assert f"perch_inspected_requests{{{of}}} 200" in page
    assert "perch_inputs_kept_timestamp_seconds 4588.0" in page
    assert f"perch_evidently_drifting_share{{{of}}} 0.5" in page
    assert f'perch_evidently_distance{{{of},feature="age"}} 0.4' in page
    assert f'perch_evidently_threshold{{{of},feature="price"}} 0.125' in page
    assert f'perch_skew_equal_share{{{of},feature="price"}} 0.0' in page
    assert f'perch_skew_equal_share{{{of},feature="age"}} 1.0' in page


def test_where_nothing_could_be_compared_no_share_is_told(ask):
    ask("POST", "/v1/inspections", content=msgspec.json.encode(Inspection("ads", "1", 4_600.0, 3)))
    page = ask("GET", "/metrics").text
    assert 'perch_inspected_requests{model="ads",version="1"} 3' in page
    assert "perch_evidently_drifting_share{" not in page
    assert "perch_skew_equal_share{" not in page


def test_a_column_with_the_longest_name_may_be_missing(ask):
    columns = [ColumnDrift(f"{'c' * 200} is missing", 0.4, 0.125)]
    found = Inspection("ads", "1", 4_600.0, 200, columns)
    assert ask("POST", "/v1/inspections", content=msgspec.json.encode(found)).status_code == 200


@pytest.mark.parametrize("body", [b"", b"{}", b'{"model":"ads","version":"1","made_s":1,"requests":-1}', b"\xff"])
def test_what_is_no_inspection_is_refused_and_nothing_is_kept(ask, body):
    assert ask("POST", "/v1/inspections", content=body).status_code == 400
    assert "perch_inspected_requests{" not in ask("GET", "/metrics").text
