"""What the collector answers when its store fails."""

import asyncio

import httpx

from perch.signals.collector import Collector
from perch.signals.outcomes import OutcomeStore


def test_a_store_that_fails_is_503_so_that_the_batch_is_sent_again(tmp_path):
    outcome = {"request_id": "r1", "label": 1, "time_s": 1.0}

    async def tell(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://collector") as client:
            return await client.post("/v1/outcomes", json=[outcome], headers={"authorization": "Bearer of-outcomes"})

    with OutcomeStore(tmp_path / "store", 10.0) as store:
        app = Collector(store, "of-predictions", "of-outcomes")
        store._db.execute("CREATE TRIGGER full BEFORE INSERT ON outcomes BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        failed = asyncio.run(tell(app))
        assert failed.status_code == 503
        assert "disk full" in failed.json()["error"]
        store._db.execute("DROP TRIGGER full")
        assert asyncio.run(tell(app)).status_code == 200
        assert store.summary().pending == 1
        app._thread.shutdown()
