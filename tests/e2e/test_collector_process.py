"""The collector as a process: who may tell it what, and that it loses nothing when it is killed."""

import json
import subprocess
import sys
import threading
import time

import httpx
import pytest

from serving_process import TOKEN, free_port, running

pytestmark = pytest.mark.e2e

NOW_S = time.time()
FEEDBACK_TOKEN = "a-token-for-outcomes"
AUTHORIZED = {
    "predictions": {"authorization": f"Bearer {TOKEN}"},
    "outcomes": {"authorization": f"Bearer {FEEDBACK_TOKEN}"},
}


@pytest.fixture
def arguments(tmp_path):
    (tmp_path / "token").write_text(TOKEN + "\n")
    (tmp_path / "feedback-token").write_text(FEEDBACK_TOKEN)
    return [
        *("--store", str(tmp_path / "outcomes.sqlite"), "--attribution-window-s", "600"),
        *("--token-file", str(tmp_path / "token"), "--feedback-token-file", str(tmp_path / "feedback-token")),
    ]


def collector(arguments):
    return running("perch.collector", *arguments, ready="/healthz")


def prediction(i, arm="stable"):
    return {
        "request_id": f"r{i}", "model": "ads", "version": "1", "arm": arm, "time_s": NOW_S, "score": 0.1, "rows": 8,
        "shown": 0,
    }  # fmt: skip


def outcome(i, label=1):
    return {"request_id": f"r{i}", "label": label, "time_s": NOW_S + 1}


def tell(client, what, items):
    return client.post(f"/v1/{what}", json=items, headers=AUTHORIZED[what])


def counts(client):
    summary = client.get("/v1/summary").json()
    found = {tally["result"]: tally["outcomes"] for tally in summary["tallies"]}
    return {**found, "pending": summary["pending"]}


def test_predictions_and_outcomes_join_and_are_counted(arguments):
    with collector(arguments) as (process, client):
        assert tell(client, "predictions", [prediction(1), prediction(1, "shadow")]).status_code == 200
        assert tell(client, "outcomes", [outcome(1), outcome(2), outcome(1)]).json()["accepted"] == 3
        assert counts(client) == {"joined": 1, "duplicate": 1, "pending": 1}
        page = client.get("/metrics").text
        assert 'perch_outcomes_total{model="ads",version="1",arm="stable",result="joined",source="click"} 1\n' in page
        process.terminate()
        assert process.wait(10) == 0


def test_each_token_opens_one_route_and_nothing_else_does(arguments):
    with collector(arguments) as (_, client):
        for what, other in (("predictions", "outcomes"), ("outcomes", "predictions")):
            for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}, AUTHORIZED[other]):
                refused = client.post(f"/v1/{what}", json=[outcome(1)], headers=headers)
                assert refused.status_code == 401
                assert "Bearer" in refused.json()["error"]
        assert counts(client) == {"pending": 0}


def test_what_cannot_be_read_is_counted_and_the_rest_is_kept(arguments):
    with collector(arguments) as (_, client):
        items = [
            outcome(1),
            {**outcome(2), "label": 2},
            {"request_id": "r3"},
            "nonsense",
            {**outcome(4), "request_id": ""},
        ]
        answer = tell(client, "outcomes", items).json()
        assert (answer["accepted"], answer["malformed"]) == (1, 4)
        assert "Invalid enum value 2" in answer["errors"][0]
        broken = b'[{"request_id": "\xff", "label": 1, "time_s": 1}]'
        assert client.post("/v1/outcomes", content=broken, headers=AUTHORIZED["outcomes"]).json()["malformed"] == 1
        for body in (b"nonsense", b'{"request_id": "r1"}', b'[{"time_s": NaN}]', b"[" * 5_000):
            assert client.post("/v1/outcomes", content=body, headers=AUTHORIZED["outcomes"]).status_code == 400
        assert counts(client) == {"malformed": 9, "pending": 1}
        refused = client.post("/v1/predictions", content=b"[" * 5_000, headers=AUTHORIZED["predictions"])
        assert refused.status_code == 400
        refused = client.post("/v1/predictions", content=b'[{"model": "\xff"}]', headers=AUTHORIZED["predictions"])
        assert refused.json()["malformed"] == 1
        assert tell(client, "predictions", [prediction(7), {}]).json()["accepted"] == 1
        assert 'perch_predictions_parked_total{reason="malformed"} 2\n' in client.get("/metrics").text
        assert client.post("/v1/outcomes", content=b" " * 8_000_001, headers=AUTHORIZED["outcomes"]).status_code == 413
        assert client.get("/v1/nothing").status_code == 404
        assert counts(client)["pending"] == 1


def test_nothing_that_was_acknowledged_is_lost_when_it_is_killed(arguments):
    acknowledged = []
    with collector(arguments) as (process, client):
        killer = threading.Timer(0.3, process.kill)
        killer.start()
        try:
            for i in range(100_000):
                tell(client, "predictions", [prediction(i)])
                tell(client, "outcomes", [outcome(i)])
                acknowledged.append(i)
        except httpx.TransportError:
            pass
        killer.join()
    assert acknowledged
    with collector(arguments) as (_, client):
        assert counts(client)["joined"] >= len(acknowledged)
        tell(client, "predictions", [prediction(i) for i in acknowledged])  # sent again, as a cautious client would
        tell(client, "outcomes", [outcome(i) for i in acknowledged])
        after = counts(client)
        assert after["duplicate"] == len(acknowledged)
        assert len(acknowledged) <= after["joined"] <= len(acknowledged) + 1


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"--token-file": "missing/token"}, 2, "missing/token"),
        ({"--feedback-token-file": "missing/token"}, 2, "missing/token"),
        ({"--store": "missing/store"}, 7, "missing/store"),
        ({"--host": "192.0.2.1"}, 7, "192.0.2.1"),
    ],
)
def test_what_it_cannot_start_with_is_one_sentence(arguments, tmp_path, change, code, says):
    options = {"--port": str(free_port()), **dict(zip(arguments[::2], arguments[1::2], strict=True)), **change}
    command = [
        sys.executable,
        "-m",
        "perch.collector",
        *(part for option in options.items() for part in option),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, cwd=tmp_path)
    assert ended.returncode == code
    assert says in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_the_store_is_what_the_counts_say(arguments, tmp_path):
    import sqlite3

    with collector(arguments) as (_, client):
        tell(client, "outcomes", [outcome(i, label=i % 2) for i in range(10)])
        tell(client, "predictions", [prediction(i) for i in range(6)])
        summary = client.get("/v1/summary").json()
    with sqlite3.connect(tmp_path / "outcomes.sqlite") as db:
        rows = db.execute("SELECT result, count(*), sum(label) FROM outcomes GROUP BY result").fetchall()
    db.close()
    assert sorted(rows) == [("joined", 6, 3), ("pending", 4, 2)]
    (tally,) = summary["tallies"]
    assert (tally["outcomes"], tally["clicks"], summary["pending"]) == (6, 3, 4), json.dumps(summary)
