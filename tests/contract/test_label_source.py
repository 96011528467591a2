"""One set of checks for every source of labels: the collector over HTTP, and the twin in memory."""

import asyncio
import logging
import time
from dataclasses import replace

import httpx
import pytest

from perch.adapters.events.store import EventStore
from perch.adapters.labels.http import HttpLabels
from perch.adapters.labels.memory import MemoryLabels
from perch.collector.app import Collector
from perch.core.decay import Matured
from perch.core.types import Cohort, Judgement, Outcomes
from perch.signals.events import Outcome, Prediction
from perch.signals.judging import Judged
from perch.signals.labels import Comparison, Cursor

WINDOW_S = 20.0
BEGIN_S = 1_000.0
ROLLOUT = Comparison(stable="1", canary="2", since_s=BEGIN_S)


class InMemory:
    """What the twin is told is what it says."""

    def __init__(self):
        self.source = MemoryLabels()

    def learn(self, outcomes):
        self.source.known.append(outcomes)

    def judge(self, p_value):
        self.source.judged.append(Judgement(p_value, "column age differs"))

    def mature(self, version, sums):
        self.source.final.append((5.0, version, sums))

    def go(self, *, away):
        self.source.is_away = away

    async def close(self):
        pass


class OverHttp:
    """A collector that is told requests and clicks of which these outcomes are made."""

    def __init__(self, folder):
        self.folder = folder
        self.store = EventStore(folder / "store", WINDOW_S, lambda: BEGIN_S + 9 + WINDOW_S)
        self.app = Collector(self.store, "a-token", "another")
        self.source = HttpLabels("http://collector", "a-token")
        self.told = 0
        self.go(away=False)

    def learn(self, outcomes):
        self.told += 1
        for cohort in outcomes.cohorts:
            live = [self.answer(arm) for arm in ("canary", "stable")]
            self.store.add_predictions(live)
            clicked = live[:1] * cohort.canary + live[1:] * cohort.stable
            self.store.add_outcomes([Outcome(one.request_id, 1, BEGIN_S + 2) for one in clicked])
        if outcomes.paired:
            self.store.add_predictions([self.answer("stable"), self.answer("shadow")])

    def judge(self, p_value):
        self.told += 1
        until_s = BEGIN_S + self.told
        self.store.add_judgement(Judged("1", "2", until_s - 1, until_s, p_value, "column age differs"))

    def mature(self, version, sums):
        self.store = EventStore(self.folder / "store", WINDOW_S, lambda: WINDOW_S + 9)
        self.app._store = self.store
        scores = (sums.expected / sums.requests,) * sums.requests
        self.store.add_predictions(
            [Prediction(f"m{i}", "ads", str(version), "stable", 5.0, score, 8, 0) for i, score in enumerate(scores)]
        )
        self.store.add_outcomes([Outcome(f"m{i}", 1, 6.0) for i in range(sums.clicks)])

    def answer(self, arm):
        version, request_id = {"stable": "1"}.get(arm, "2"), f"{'canary' if arm == 'canary' else 'r'} {self.told}"
        return Prediction(request_id, "ads", version, arm, BEGIN_S + 1 + self.told / 10, 0.1, 1, 0)

    def go(self, *, away):
        async def refuses(*_):
            raise httpx.ConnectError("nobody listens")

        serving = httpx.MockTransport(refuses) if away else httpx.ASGITransport(self.app)
        self.source._client = httpx.AsyncClient(
            transport=serving, base_url="http://collector", headers=self.source._client.headers
        )

    async def close(self):
        await self.source.close()
        self.app._thread.shutdown()
        self.store.__exit__()


@pytest.fixture
def loop():
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(params=["memory", "http"])
def site(request, tmp_path, loop):
    site = InMemory() if request.param == "memory" else OverHttp(tmp_path)
    yield site
    loop(site.close())


PAIR = (0.0,) * 40 + (1.0,) + (0.0,) * 40
CLICK = Outcomes(cohorts=(Cohort(0.5, 1, 0),))


def test_nothing_known_is_nothing_handed_out(site, loop):
    assert loop(site.source.since(ROLLOUT, Cursor())).outcomes == Outcomes()


def test_what_became_known_is_handed_out_with_a_cursor_behind_it(site, loop):
    site.learn(CLICK)
    site.learn(Outcomes(paired=PAIR))
    arrived = loop(site.source.since(ROLLOUT, Cursor()))
    assert [cohort.canary for cohort in arrived.outcomes.cohorts] == [1]
    assert arrived.outcomes.paired == PAIR
    assert loop(site.source.since(ROLLOUT, arrived.cursor)).outcomes == Outcomes()


def test_each_judgement_is_handed_out_once_to_who_asks_for_them(site, loop):
    judged = replace(ROLLOUT, judged=True)
    site.judge(0.5)
    assert loop(site.source.since(ROLLOUT, Cursor())).judgements == ()
    first = loop(site.source.since(judged, Cursor()))
    assert first.judgements == (Judgement(0.5, "column age differs"),)
    assert loop(site.source.since(judged, Cursor())) == first
    site.judge(0.25)
    second = loop(site.source.since(judged, first.cursor))
    assert second.judgements == (Judgement(0.25, "column age differs"),)
    assert loop(site.source.since(judged, second.cursor)).judgements == ()


def test_the_same_cursor_gives_the_same_labels_and_those_that_have_come_since(site, loop):
    first = loop(site.source.since(ROLLOUT, Cursor())).cursor
    site.learn(CLICK)
    assert len(loop(site.source.since(ROLLOUT, first)).outcomes.cohorts) == 1
    site.learn(Outcomes(paired=PAIR))
    again = loop(site.source.since(ROLLOUT, first)).outcomes
    assert sum(cohort.canary for cohort in again.cohorts) == 1
    site.learn(CLICK)
    assert sum(cohort.canary for cohort in loop(site.source.since(ROLLOUT, first)).outcomes.cohorts) == 2


def test_a_source_that_is_away_says_nothing_and_loses_nothing(site, loop):
    site.learn(CLICK)
    site.go(away=True)
    assert loop(site.source.since(ROLLOUT, Cursor())) is None
    site.go(away=False)
    assert len(loop(site.source.since(ROLLOUT, Cursor())).outcomes.cohorts) == 1


def test_what_is_final_is_summed_once_and_no_other_version_s(site, loop):
    site.mature(1, Matured(2, 1, 0.5))
    first = loop(site.source.matured(1, 0.0))
    assert (first.matured.requests, first.matured.clicks, first.matured.expected) == (2, 1, 0.5)
    assert loop(site.source.matured(1, first.until_s)).matured == Matured()
    assert loop(site.source.matured(2, 0.0)).matured == Matured()


def test_a_source_that_is_away_does_not_say_what_is_final(site, loop):
    site.go(away=True)
    assert loop(site.source.matured(1, 0.0)) is None


# --- what only HTTP can fail at ------------------------------------------------------------------------------------


async def slowly(_):
    await asyncio.sleep(1)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda _: httpx.Response(401, json={"error": "no"}), "401"),
        (lambda _: httpx.Response(503), "503"),
        (lambda _: httpx.Response(200, content=b"<html>"), "malformed"),
        (lambda _: httpx.Response(200, json={"outcomes": {}}), "cursor"),
        (slowly, "no answer within 0.1 s"),
    ],
    ids=["refused", "fails", "no JSON", "other JSON", "slow"],
)
def test_an_answer_without_labels_is_none_and_the_log_says_why(loop, caplog, answer, says):
    source = HttpLabels("http://collector", "a-token", timeout_s=0.1)
    source._client = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://collector")
    began_s = time.monotonic()
    with caplog.at_level(logging.WARNING):
        assert loop(source.since(ROLLOUT, Cursor())) is None
    assert says in caplog.text
    assert time.monotonic() - began_s < 0.8
    loop(source.close())
