import json

import msgspec
import pytest

from perch.core.freshness_types import Alert
from perch.signals.alerts import concerning, read_alerts

FIRING = {
    "status": "firing",
    "labels": {"alertname": "PerchClicksFall", "model": "ad-clicks", "severity": "warning"},
    "annotations": {"summary": "Clicks fell by a third.", "runbook_url": "x"},
    "startsAt": "2026-11-21T20:00:00Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "http://prometheus",
    "fingerprint": "c0ffee",
}


def body(*alerts, version="4"):
    return json.dumps(
        {"version": version, "groupKey": "{}", "status": "firing", "receiver": "perch", "alerts": alerts}
    ).encode()


def told(*alerts, service="ads", model="ad-clicks", namespace=None):
    return concerning(read_alerts(body(*alerts)), service, model, namespace)


def test_an_alert_is_told_in_a_sentence_and_has_the_number_of_its_firing():
    assert told(FIRING) == [Alert("c0ffee@2026-11-21T20:00:00Z", "PerchClicksFall: Clicks fell by a third")]


def test_a_resolved_alert_has_the_number_of_its_firing_and_a_new_firing_another_one():
    (resolved,), (again,) = told(FIRING | {"status": "resolved"}), told(FIRING | {"startsAt": "2026-11-22T20:00:00Z"})
    assert not resolved.firing
    assert resolved.number == told(FIRING)[0].number != again.number


@pytest.mark.parametrize(
    ("labels", "is_ours"),
    [
        ({"model": "ad-clicks"}, True),
        ({"model": "news"}, False),
        ({"service": "ads"}, True),
        ({"perch_dev_service": "ads", "namespace": "shop"}, True),
        ({"service": "ads", "namespace": "shop"}, True),
        ({"service": "ads", "namespace": "elsewhere"}, False),
        ({"model": "ad-clicks", "namespace": "elsewhere"}, False),
        ({}, False),
    ],
)
def test_which_labels_name_a_service(labels, is_ours):
    assert bool(told(FIRING | {"labels": labels}, namespace="shop")) == is_ours


def test_on_a_machine_there_are_no_namespaces():
    assert told(FIRING | {"labels": {"service": "ads", "namespace": "elsewhere"}})


@pytest.mark.parametrize(
    "found", [b"", b"{}", b"[]", body(version="3"), body(FIRING | {"status": "pending"}), body({"status": "firing"})]
)
def test_what_is_no_notification_of_version_4_is_refused(found):
    with pytest.raises(msgspec.DecodeError):
        read_alerts(found)


def test_an_alert_without_annotations_is_called_by_its_name():
    assert told({"status": "firing", "labels": {"alertname": "X", "model": "ad-clicks"}})[0].sentence == "X"
