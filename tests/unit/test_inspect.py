"""One inspection, from the sample to figures, report and sentences; and what becomes of it where something is away."""

import json
from dataclasses import replace

import httpx
import msgspec
import numpy as np
import pytest

from perch.adapters.events.inspecting import InspectingClient
from perch.adapters.registry.memory import MemoryRegistry
from perch.adapters.registry.port import Role
from perch.errors import ModelError, PlatformError, RegistryError
from perch.judge import inspect as inspect_job
from perch.judge.inspect import inspect, sentences
from perch.pipeline.reference import reference
from perch.pipeline.settings import PipelineSettings
from perch.signals.inspection import Sampled
from perch.workload.package import write_package
from perch.workload.schema import Slice
from profiled import small_market

NOW_S = 1_700_000_000.0


class Collector:
    """Hands the same sample out, and remembers what it was asked and told."""

    def __init__(self, sample):
        self._sample, self.asked, self.kept = sample, [], []

    def sample(self, version, from_s, until_s):
        self.asked.append((version, until_s - from_s))
        return self._sample

    def keep(self, inspection):
        self.kept.append(inspection)


def sample(count=300, *, skew=None, with_features=True):
    """Requests of the evaluation window, as a sound service answers them, or one that is skewed."""
    prepared, scorer, _ = small_market()
    rows = prepared.evaluation[prepared.evaluation["explored"] == 1]
    frame = rows.sample(count, replace=True, random_state=1)[list(scorer.schema.inputs)].astype(object)
    asked = frame.where(frame.notna(), None).to_dict("records")
    given = [{**row, skew: row[skew] and row[skew] * 100} for row in asked] if skew else asked
    matrix = scorer.transform.transform({name: [row[name] for row in given] for name in scorer.schema.inputs}).values
    names = scorer.transform.names
    served = [{n: None if np.isnan(v) else v for n, v in zip(names, row, strict=True)} for row in matrix.tolist()]
    return [
        Sampled(f"r{i}", f"u{i}", given[i], asked[i], served[i] if with_features else None) for i in range(len(asked))
    ]


@pytest.fixture
def registry(tmp_path):
    prepared, scorer, found = small_market()
    registry = MemoryRegistry()
    rows = reference(prepared, PipelineSettings())
    write_package(tmp_path / "new", scorer, score_histogram=(1,), profile=found, reference=rows)
    write_package(tmp_path / "old", scorer, score_histogram=(1,), profile=found)
    for name in ("new", "old"):
        registry.register("ads", tmp_path / name, metrics={}, tags={})
    registry.assign("ads", Role.CHAMPION, 1)
    return registry


def told(found, **how):
    return "\n".join(sentences(found, **how))


def test_a_sound_service_is_said_to_be_sound_and_the_report_is_kept(registry):
    pytest.importorskip("evidently")
    collector = Collector(sample())
    found = inspect(collector, registry, "ads", NOW_S)
    assert collector.asked == [(1, 3_600.0)]
    assert collector.kept == [found.inspection]
    assert (found.inspection.version, found.inspection.requests, found.inspection.made_s) == ("1", 300, NOW_S)
    assert all(one.equal == one.requests == 300 for one in found.inspection.features)
    assert not any(one.drifts for one in found.inspection.columns)
    assert "All 27 features are served as training makes them" in told(found)
    assert "columns drifts from training" in told(found)
    ((name, page),) = registry.reports["ads", 1].items()
    assert name == "training-20231114-221320.html"
    assert "<html" in page.lower()
    assert f"reports/{name} of version 1's run" in told(found)


def test_prices_in_cents_are_found_twice_as_skew_with_an_example_and_as_drift(registry):
    pytest.importorskip("evidently")
    requests = sample(skew="price")
    found = inspect(Collector(requests), registry, "ads", NOW_S)
    missing = sum(one.asked["price"] is None for one in requests)
    first = next(one for one in requests if one.asked["price"])
    assert {one.feature for one in found.inspection.features if one.equal < one.requests} == {"price"}
    assert f"price is skewed: training makes the same of {missing} of 300 requests. Of {first.request_id}" in told(
        found
    )
    assert f"asked with price {first.asked['price']!r}, serving made" in told(found, with_inputs=True)
    assert {one.column for one in found.inspection.columns if one.drifts} == {"price"}


def test_a_log_has_no_inputs_and_a_terminal_neither_the_user_nor_what_is_sensitive(registry, monkeypatch):
    _, scorer, _ = small_market()
    sensitive = replace(scorer.schema, slices=(Slice("ad_category", sensitive=True),))
    monkeypatch.setattr(inspect_job, "load_package", lambda *_: replace(scorer, schema=sensitive))
    lost = [msgspec.structs.replace(one, asked={**one.asked, "site": "lost"}) for one in sample(5)]
    found = inspect(Collector(lost), registry, "ads", NOW_S, user_column="user_interest")
    assert "asked with" not in told(found)
    assert "lost" not in told(found)
    assert "site_log_odds is skewed: training makes the same of 0 of 5 requests. Of r0 serving made" in told(found)
    at_terminal = told(found, with_inputs=True)
    assert "Of r0, asked with site 'lost', serving made" in at_terminal
    assert {name for one in found.examples for name in one.asked} == {"site"}
    assert sum("_x_" in one.feature for one in found.examples) > 0
    assert "user_interest '" not in at_terminal
    assert "ad_category '" not in at_terminal


def test_a_version_without_rows_of_training_is_compared_by_its_features_only(registry):
    registry.assign("ads", Role.CHAMPION, 2)
    found = inspect(Collector(sample()), registry, "ads", NOW_S)
    assert found.inspection.columns == []
    assert len(found.inspection.features) == 27
    assert "Version 2 carries no rows of its training" in told(found)
    assert registry.reports == {}


def test_too_few_requests_are_compared_by_their_features_only(registry):
    pytest.importorskip("evidently")
    found = inspect(Collector(sample(20)), registry, "ads", NOW_S)
    assert (found.inspection.columns, found.inspection.requests) == ([], 20)
    assert "20 requests are too few to compare with training; 200 are needed." in told(found)


def test_events_without_features_are_compared_by_their_columns_only(registry):
    pytest.importorskip("evidently")
    found = inspect(Collector(sample(with_features=False)), registry, "ads", NOW_S)
    assert found.inspection.features == []
    assert found.inspection.columns
    assert "No request tells which features were served" in told(found)
    assert "is skewed" not in told(found)


def test_an_evidently_that_fails_and_a_registry_that_keeps_no_report_lose_no_figures(registry, monkeypatch):
    training = pytest.importorskip("perch.judge.training", reason="Evidently is in the group monitor")

    def refuse(*_):
        raise RegistryError("cannot keep a report: try again")

    monkeypatch.setattr(MemoryRegistry, "keep_report", refuse)
    collector = Collector(sample())
    found = inspect(collector, registry, "ads", NOW_S)
    assert collector.kept[0].columns
    assert "Evidently's report is not kept. cannot keep a report: try again" in told(found)

    def fail(*_):
        raise PlatformError("Evidently cannot compare these requests with training: oh.")

    monkeypatch.setattr(training, "drift", fail)
    found = inspect(collector, registry, "ads", NOW_S)
    assert (collector.kept[1].columns, len(collector.kept[1].features)) == ([], 27)
    assert "Evidently cannot compare these requests with training: oh." in told(found)


def test_without_a_champion_or_requests_there_is_nothing_to_inspect_and_nothing_is_kept(registry):
    collector = Collector([])
    with pytest.raises(PlatformError, match=r"Of version 1 no request with its inputs is there.*featuresShare"):
        inspect(collector, registry, "ads", NOW_S)
    registry.withdraw("ads", Role.CHAMPION)
    with pytest.raises(PlatformError, match="ads has no champion"):
        inspect(collector, registry, "ads", NOW_S)
    assert collector.kept == []


def test_a_package_that_is_not_the_champions_is_refused_and_nothing_is_kept(registry, monkeypatch, tmp_path):
    _, scorer, _ = small_market()
    write_package(tmp_path / "other", scorer, score_histogram=(2,))
    monkeypatch.setattr(MemoryRegistry, "fetch", lambda *_: tmp_path / "other")
    collector = Collector(sample())
    with pytest.raises(ModelError, match="was asked for"):
        inspect(collector, registry, "ads", NOW_S)
    assert collector.kept == []


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda _: httpx.Response(403, json={"error": "/v1/sample is closed."}), "refused: /v1/sample is closed."),
        (lambda _: httpx.Response(200, content=b'[{"a":1}]'), "cannot be read"),
        (lambda _: httpx.Response(200, content=b"<html>"), "cannot be read"),
        (lambda request: (_ for _ in ()).throw(httpx.ConnectError("refused", request=request)), "does not answer"),
    ],
)
def test_a_collector_that_is_away_or_answers_something_else_is_a_sentence(answer, says):
    with InspectingClient("http://collector", "judge") as client:
        client._client = httpx.Client(base_url="http://collector", transport=httpx.MockTransport(answer))
        with pytest.raises(PlatformError, match=says):
            client.sample(1, 0.0, 1.0)


def test_what_was_found_is_told_as_the_collector_reads_it(registry):
    bodies = []

    def take(request):
        bodies.append(json.loads(request.content))
        return httpx.Response(200, json={})

    with InspectingClient("http://collector", "judge") as client:
        client._client = httpx.Client(base_url="http://collector", transport=httpx.MockTransport(take))
        registry.assign("ads", Role.CHAMPION, 2)
        collector = Collector(sample(50))
        collector.keep = client.keep
        inspect(collector, registry, "ads", NOW_S)
    assert (bodies[0]["model"], bodies[0]["version"], bodies[0]["requests"]) == ("ads", "2", 50)
    assert {"feature": "price", "requests": 50, "equal": 50} in bodies[0]["features"]


def test_the_job_waits_for_the_token_that_the_collector_makes(registry, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(inspect_job, "MlflowRegistry", lambda _: registry)
    monkeypatch.setattr(InspectingClient, "sample", lambda *_: [])
    monkeypatch.setattr("os.nice", lambda _: 0)
    monkeypatch.setattr("time.sleep", lambda _: (tmp_path / "token").write_text("judge"))
    options = ["--collector", "http://c", "--token-file", str(tmp_path / "token"), "--registry", "r", "--model", "ads"]
    inspect_job.main(options)
    assert "Of version 1 no request" in capsys.readouterr().out


def test_a_service_that_nobody_asks_is_no_failure_of_the_job(registry, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(inspect_job, "MlflowRegistry", lambda _: registry)
    monkeypatch.setattr(InspectingClient, "sample", lambda *_: [])
    monkeypatch.setattr("os.nice", lambda _: 0)
    (tmp_path / "token").write_text("judge")
    options = ["--collector", "http://c", "--token-file", str(tmp_path / "token"), "--registry", "r", "--model", "ads"]
    inspect_job.main(options)
    assert "Of version 1 no request with its inputs" in capsys.readouterr().out
