"""The operator's port for Alertmanager: who may speak, what is heard, and by which service."""

import asyncio

import httpx
import pytest

from perch.errors import PlatformError
from perch.operator.alerts import Alerts

TOKEN = "of-alerts"


class Watch:
    def __init__(self, model):
        self.model, self.heard, self.is_away = model, [], False

    async def hear(self, alerts):
        if self.is_away:
            raise PlatformError("The API server does not answer.")
        self.heard += alerts


@pytest.fixture
def watches():
    return {("shop", "ads"): Watch("ad-clicks"), ("shop", "news"): Watch("news-clicks"), ("other", "ads"): Watch("x")}


def tell(watches, content, token=TOKEN, path="/v1/alerts", may_write=lambda: None):
    async def post():
        transport = httpx.ASGITransport(Alerts(TOKEN, watches, may_write))
        async with httpx.AsyncClient(transport=transport, base_url="http://operator") as client:
            headers = {} if token is None else {"authorization": f"Bearer {token}"}
            return await client.post(path, headers=headers, json=content)

    return asyncio.run(post())


def firing(number=1, status="firing", **labels):
    return {"status": status, "labels": {"alertname": "X", **labels}, "fingerprint": f"f{number}", "startsAt": "1"}


def notification(*alerts, version="4"):
    return {"version": version, "receiver": "perch", "alerts": alerts}


def test_an_alert_is_heard_by_the_service_that_it_names(watches):
    answer = tell(watches, notification(firing(model="ad-clicks"), firing(2, service="ads", namespace="other")))
    assert (answer.status_code, answer.json()) == (200, {"heard": 2})
    assert {key: len(watch.heard) for key, watch in watches.items()} == {
        ("shop", "ads"): 1,
        ("shop", "news"): 0,
        ("other", "ads"): 1,
    }


def test_a_storm_is_handed_over_as_one(watches):
    tell(watches, notification(*(firing(i, model="ad-clicks") for i in range(500))))
    assert len(watches["shop", "ads"].heard) == 500


def test_resolved_alerts_are_told_as_such(watches):
    tell(watches, notification(firing(status="resolved", model="ad-clicks")))
    assert not watches["shop", "ads"].heard[0].firing


def test_an_alert_of_nobody_s_is_acknowledged(watches):
    assert tell(watches, notification(firing(model="else"))).json() == {"heard": 0}


@pytest.mark.parametrize("token", [None, "", "guessed"])
def test_nobody_speaks_without_the_token(watches, token):
    assert tell(watches, notification(firing(model="ad-clicks")), token).status_code == 401
    assert not watches["shop", "ads"].heard


@pytest.mark.parametrize("content", [{}, [], notification(version="3"), notification({"status": "firing"})])
def test_what_is_no_notification_of_version_4_is_400(watches, content):
    answer = tell(watches, content)
    assert answer.status_code == 400
    assert "version 4" in answer.json()["error"]


def test_there_is_nothing_else(watches):
    assert tell(watches, notification(), path="/v1/else").status_code == 404


def test_who_may_not_write_has_it_sent_again(watches):
    def refuse():
        raise PlatformError("Another operator writes.")

    assert tell(watches, notification(firing(model="ad-clicks")), may_write=refuse).status_code == 503
    assert not watches["shop", "ads"].heard


def test_what_could_not_be_remembered_is_sent_again(watches):
    watches["shop", "ads"].is_away = True
    answer = tell(watches, notification(firing(model="ad-clicks")))
    assert (answer.status_code, answer.json()["error"]) == (503, "The API server does not answer.")


def test_a_body_that_is_too_large_is_refused(watches):
    assert tell(watches, notification(firing(model="x" * 1_100_000))).status_code == 413
