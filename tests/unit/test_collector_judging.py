"""The way of windows to the external judge and of its judgements to a rollout, over HTTP."""

import asyncio
import json
import sys
import time
from types import SimpleNamespace
from typing import NamedTuple

import httpx
import msgspec
import pytest

from perch.adapters.events.store import EventStore
from perch.collector.app import Collector
from perch.errors import UsageError
from perch.judge import __main__ as process
from perch.signals.events import Prediction
from perch.signals.judging import ROWS, Judged, Window

BEGIN_S = 1_000.0
QUERY = "/v1/labels?stable=1&canary=2&since_s=1000"
JUDGED = {"stable": "1", "canary": "2", "from_s": BEGIN_S, "until_s": BEGIN_S + 5, "p_value": 0.25, "finding": "age"}


@pytest.fixture
def clock():
    return SimpleNamespace(now_s=BEGIN_S + 30)


@pytest.fixture
def ask(tmp_path, clock):
    """Asks a collector in which there are rows enough for a window."""
    with EventStore(tmp_path / "store", 600.0, lambda: clock.now_s) as store, asyncio.Runner() as runner:
        for arm, version in (("stable", "1"), ("canary", "2")):
            told = [(f"{arm}{i}", "ads", version, arm, BEGIN_S + 1, 0.1, 1, 0) for i in range(ROWS)]
            store.add_predictions([Prediction(*one, features={"age": 1.0}) for one in told])
        app = Collector(store, "token", "feedback", judge_token="judge", clock=lambda: clock.now_s)
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://collector")

        def ask(method, path, token="judge", **body):
            return runner.run(client.request(method, path, headers={"authorization": f"Bearer {token}"}, **body))

        yield ask
        app._thread.shutdown()


def test_nothing_is_to_be_judged_until_a_rollout_asks_for_it(ask):
    assert ask("GET", "/v1/window").json() is None
    ask("GET", QUERY, "token")
    assert ask("GET", "/v1/window").json() is None
    ask("GET", f"{QUERY}&judged=true", "token")
    window = ask("GET", "/v1/window").json()
    assert (window["stable"], window["canary"], window["from_s"]) == ("1", "2", BEGIN_S)
    assert window["canary_rows"] == window["stable_rows"] == [{"age": 1.0}] * ROWS


def test_nothing_is_to_be_judged_any_more_when_nobody_has_asked_for_a_minute(ask, clock):
    ask("GET", f"{QUERY}&judged=true", "token")
    clock.now_s += 61
    assert ask("GET", "/v1/window").json() is None


def test_what_was_judged_is_taken_once_and_told_with_the_labels(ask):
    ask("GET", f"{QUERY}&judged=true", "token")
    assert ask("POST", "/v1/judgements", json=JUDGED).json() == {"accepted": 1}
    assert ask("POST", "/v1/judgements", json=JUDGED).json() == {"accepted": 0}
    told = ask("GET", f"{QUERY}&judged=true", "token").json()
    assert told["judgements"] == [{"p_value": 0.25, "finding": "age"}]
    assert ask("GET", "/v1/window").json() is None


def test_what_was_judged_is_counted_for_prometheus(ask):
    ask("POST", "/v1/judgements", json=JUDGED)
    page = ask("GET", "/metrics").text
    assert 'perch_evidently_windows{stable="1",canary="2"} 1\n' in page
    assert 'perch_evidently_p_value{stable="1",canary="2"} 0.25\n' in page


@pytest.mark.parametrize(
    "wrong", [{"p_value": 1.5}, {"p_value": None}, {"until_s": "soon"}, {"finding": "x" * 501}, {"stable": ""}]
)
def test_what_is_no_judgement_is_refused(ask, wrong):
    refused = ask("POST", "/v1/judgements", json={**JUDGED, **wrong})
    assert refused.status_code == 400
    assert "p_value" in refused.json()["error"]


@pytest.mark.parametrize("token", ["token", "feedback", ""])
def test_only_the_judge_sees_inputs_and_judges(ask, token):
    assert ask("GET", "/v1/window", token).status_code == 401
    assert ask("POST", "/v1/judgements", token, json=JUDGED).status_code == 401


FAILS_S = 9.0


class Compared(NamedTuple):
    judged: Judged
    report: str | None


class AllJudgedError(Exception):
    """The judge has judged what a test is about."""


def judging(monkeypatch, tmp_path, answers):
    """What the judge's process posts, to a collector that gives these answers to questions for a window."""
    (tmp_path / "token").write_text("judge")
    posted, left = [], iter(answers)

    def collector(request):
        assert request.headers["authorization"] == "Bearer judge"
        if request.method == "POST":
            posted.append(json.loads(request.content))
            return httpx.Response(200, json={"accepted": 1})
        answer = next(left, None)
        if answer is None:
            raise AllJudgedError
        return answer

    def compare(window):
        if window.until_s == FAILS_S:
            raise ValueError("a column of a kind that nobody thought of")
        judged = Judged(window.stable, window.canary, window.from_s, window.until_s, 0.5, "column age differs")
        return Compared(judged, None)

    module = SimpleNamespace(compare=compare, Compared=Compared)
    monkeypatch.setitem(sys.modules, "perch.judge.comparison", module)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(process.os, "nice", lambda _: None)
    client = httpx.Client
    monkeypatch.setattr(httpx, "Client", lambda **options: client(transport=httpx.MockTransport(collector), **options))
    with pytest.raises(AllJudgedError):
        process.main(["--collector", "http://collector", "--token-file", str(tmp_path / "token")])
    return posted


def test_the_judges_process_says_of_each_window_what_it_finds_and_outlives_a_collector_that_fails(
    monkeypatch, tmp_path
):
    window = Window("1", "2", 3.0, 8.0, [{"age": 1.0}], [{"age": 2.0}])
    given = httpx.Response(200, content=msgspec.json.encode(window))
    nothing, failing, strange = httpx.Response(200, json=None), httpx.Response(503), httpx.Response(200, text="no")
    (posted,) = judging(monkeypatch, tmp_path, [nothing, failing, strange, given])
    assert posted == {
        "stable": "1", "canary": "2", "from_s": 3.0, "until_s": 8.0, "p_value": 0.5, "finding": "column age differs",
    }  # fmt: skip


def test_what_evidently_cannot_compare_says_nothing_and_keeps_no_later_window_waiting(monkeypatch, tmp_path):
    answers = [Window("1", "2", from_s, from_s + 1, [{}], [{}]) for from_s in (FAILS_S - 1, FAILS_S)]
    posted = judging(monkeypatch, tmp_path, [httpx.Response(200, content=msgspec.json.encode(one)) for one in answers])
    assert [(one["until_s"], one["p_value"]) for one in posted] == [(FAILS_S, 1.0), (FAILS_S + 1, 0.5)]


def test_a_judge_without_a_token_says_which_file_it_lacks(monkeypatch, tmp_path):
    monkeypatch.setattr("perch.asgi._TOKEN_WAIT_S", 0.0)
    monkeypatch.setattr(process.os, "nice", lambda _: None)
    with pytest.raises(UsageError, match="no-such-file"):
        process.main(["--collector", "http://collector", "--token-file", str(tmp_path / "no-such-file")])
