"""BentoML's own API, as `bentoml serve` would answer it, is the same scorer behind the same checks."""

import asyncio

import httpx
import pytest

from perch.serving.bento import bento_app
from perch.serving.scoring import Scores
from perch.workload.schema import Schema

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # BentoML's own

SCHEMA = Schema(numeric=("price",), categorical=("site",), baseline=("site",))


async def live(app, ask):
    """Calls `ask` with a client while the application's lifespan lasts."""
    incoming, started = asyncio.Queue(), asyncio.Event()

    async def send(message):
        assert message["type"] != "lifespan.startup.failed", message
        started.set()

    lifespan = asyncio.create_task(app({"type": "lifespan", "state": {}}, incoming.get, send))
    await incoming.put({"type": "lifespan.startup"})
    await started.wait()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bento") as client:
        answer = await ask(client)
    await incoming.put({"type": "lifespan.shutdown"})
    await lifespan
    return answer


def test_its_predict_api_scores_and_refuses_as_ours_does():
    app = bento_app(SCHEMA, lambda columns: Scores([price / 10 for price in columns["price"]], {}, {}))

    async def ask(client):
        good = await client.post(
            "/predict", json={"instances": [{"price": 1, "site": None}, {"price": 2, "site": "a"}]}
        )
        bad = await client.post("/predict", json={"instances": [{"price": 1}]})
        return good, bad

    good, bad = asyncio.run(live(app, ask))
    assert good.json() == {"predictions": [0.1, 0.2]}
    assert bad.status_code == 400
    assert "lacks the column 'site'" in bad.text
