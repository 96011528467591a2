"""Alertmanager's webhook, version 4: what somebody else's rules say of a service.

An alert is the service's when its label `model` is the service's model, or its label `service` (or `perch_dev_service`,
as Perch's own rules have it) the service's name; and its `namespace`, where it has one, the service's. An alert that
goes on firing has the same number in each notification: its fingerprint, with the moment since when it fires.
(Prometheus, "Alerting: configuration", `webhook_config`.)
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

import msgspec

from perch.core.freshness_types import Alert

BODY_LIMIT_BYTES = 1_000_000

_Text = Annotated[str, msgspec.Meta(max_length=10_000)]
_MOST_CHARACTERS = 200


class Notified(msgspec.Struct, frozen=True):
    """One alert of a notification; what else Alertmanager tells of it is not looked at."""

    status: Literal["firing", "resolved"]
    labels: Mapping[_Text, _Text]
    annotations: Mapping[_Text, _Text] = {}
    starts_at: _Text = msgspec.field(name="startsAt", default="")
    fingerprint: _Text = ""

    @property
    def alert(self) -> Alert:
        """The alert in our words."""
        name = self.labels.get("alertname", "an alert without a name")
        said = self.annotations.get("summary") or self.annotations.get("description")
        sentence = f"{name}: {said}" if said else name
        number = f"{self.fingerprint or sorted(self.labels.items())}@{self.starts_at}"
        return Alert(number, " ".join(sentence.split())[:_MOST_CHARACTERS].rstrip(". "), self.status == "firing")

    def concerns(self, service: str, model: str, namespace: str | None) -> bool:
        """Whether the alert is a service's; `None` for the namespace: on this machine there are none."""
        elsewhere = namespace is not None and self.labels.get("namespace", namespace) != namespace
        named = {self.labels.get("service"), self.labels.get("perch_dev_service")}
        return not elsewhere and (self.labels.get("model") == model or service in named)


class _Notification(msgspec.Struct, frozen=True):
    version: Literal["4"]
    alerts: list[Notified]


_notification = msgspec.json.Decoder(_Notification)


def read_alerts(body: bytes) -> list[Notified]:
    """The alerts of a notification.

    Raises:
        msgspec.DecodeError: it is no notification of version 4.
    """
    return _notification.decode(body).alerts


def concerning(alerts: Iterable[Notified], service: str, model: str, namespace: str | None = None) -> list[Alert]:
    """The alerts of one service."""
    return [one.alert for one in alerts if one.concerns(service, model, namespace)]
