"""What the objects say that collect the outcomes of one service in a cluster.

Each service has a collector of its own, in its namespace: what it keeps, for how long and who may write to it are the
service's, and go with it. A StatefulSet runs it, as there must never be two writers of one store. It runs the serving
image, which its node has anyway.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from perch import asgi
from perch.adapters.cluster.objects import SERVICE_LABEL, Manifest, labels
from perch.adapters.cluster.restricted import LOCKED_DOWN, POD_SECURITY
from perch.settings.schema import Events

PORT: Final = 8090

PREDICTIONS_KEY: Final = "token"
"""Of the Secret: what opens the collector for predictions."""

FEEDBACK_KEY: Final = "feedback-token"
"""Of the Secret: what opens it for outcomes, and so the route's `/feedback`."""

CONTROL_KEY: Final = "control-token"
"""Of the Secret: what opens it for exports and deletion."""

ATTRIBUTES_KEY: Final = "attributes-token"
"""Of the Secret: what opens it for sensitive attributes of users."""

JUDGE_KEY: Final = "judge-token"
"""Of the Secret: what opens it for the external judge."""

_STORE_URL: Final = "PERCH_STORE_URL"

_MOUNTS = [
    {"name": "data", "mountPath": "/data"},
    {"name": "token", "mountPath": "/token", "readOnly": True},
    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  a volume
]
_HEALTHY = {"httpGet": {"path": "/healthz", "port": PORT}}


@dataclass(frozen=True, slots=True)
class Volume:
    """Where a collector keeps its store."""

    size: str
    """As Kubernetes' quantity; it may grow, where the class lets it.

    A request, and each copy of one, takes about 200 bytes for two attribution windows.
    """

    storage_class: str | None
    """`None`: the cluster's default."""


@dataclass(frozen=True, slots=True)
class Collecting:
    """How the outcomes of one service are collected."""

    service: str
    namespace: str
    image: str
    """With `perch.collector` in it: the serving image."""

    attribution_window_s: float
    volume: Volume
    pull_secrets: tuple[str, ...] = ()
    """By which the image is pulled."""

    events: Events = field(default_factory=Events)
    """Where they are kept, and for how long."""

    @property
    def name(self) -> str:
        """Of all its objects."""
        return collector_name(self.service)

    @property
    def url(self) -> str:
        """Where it answers in the cluster."""
        return f"http://{self.name}.{self.namespace}.svc:{PORT}"


def collector_name(service: str) -> str:
    """Name of what collects a service's outcomes. It is no version's name, as those end in a number."""
    return f"{service}-collector"


def secret(collecting: Collecting) -> Manifest:
    """Random tokens: for predictions, which the serving pods mount; for outcomes, which applications are given; for
    what a person asks; for sensitive attributes; and for the external judge.
    """
    keys = (PREDICTIONS_KEY, FEEDBACK_KEY, CONTROL_KEY, ATTRIBUTES_KEY, JUDGE_KEY)
    tokens = {key: asgi.new_token() for key in keys}
    return {**_object(collecting, "v1", "Secret"), "type": "Opaque", "stringData": tokens}


def collector_service(collecting: Collecting) -> Manifest:
    """The Service that leads to the collector."""
    ports = [{"name": "http", "port": PORT, "targetPort": PORT}]
    return {**_object(collecting, "v1", "Service"), "spec": {"selector": _pods(collecting), "ports": ports}}


def stateful_set(collecting: Collecting, labels_digest: str) -> Manifest:
    """Runs the collector.

    Args:
        collecting: What is collected.
        labels_digest: Digest of the token that opens it for labels, see `asgi.digest`.
    """
    spec = {
        "replicas": 1,
        "serviceName": collecting.name,
        "selector": {"matchLabels": _pods(collecting)},
        "template": _pod(collecting, labels_digest),
    }
    return {**_object(collecting, "apps/v1", "StatefulSet"), "spec": spec}


def volume_claim(collecting: Collecting) -> Manifest:
    """Where the store is. It is no template of the StatefulSet's, which could not be changed then."""
    volume = collecting.volume
    spec: Manifest = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": volume.size}}}
    if volume.storage_class:
        spec["storageClassName"] = volume.storage_class
    return {**_object(collecting, "v1", "PersistentVolumeClaim"), "spec": spec}


def _object(collecting: Collecting, version: str, kind: str) -> Manifest:
    metadata = {"name": collecting.name, "namespace": collecting.namespace, "labels": labels(collecting.service)}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _pods(collecting: Collecting) -> dict[str, str]:
    return {"app.kubernetes.io/name": "perch-collector", "app.kubernetes.io/instance": collecting.service}


def _pod(collecting: Collecting, labels_digest: str) -> Manifest:
    annotations = {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(PORT),
        "prometheus.io/path": "/metrics",
    }
    container: Manifest = {
        "name": "collector",
        "image": collecting.image,
        "command": list(_command(collecting, labels_digest)),
        "ports": [{"name": "http", "containerPort": PORT}],
        "startupProbe": {**_HEALTHY, "periodSeconds": 1, "failureThreshold": 120},
        "readinessProbe": {**_HEALTHY, "periodSeconds": 5, "timeoutSeconds": 2},
        "livenessProbe": {**_HEALTHY, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6},
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "192Mi"}},
        "securityContext": LOCKED_DOWN,
        "volumeMounts": _MOUNTS,
    }
    volumes: list[Manifest] = [
        {"name": "data", "persistentVolumeClaim": {"claimName": collecting.name}},
        {"name": "token", "secret": {"secretName": collecting.name, "defaultMode": 0o440}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
    ]
    if store := collecting.events.store_secret:
        url = {"secretKeyRef": {"name": store, "key": "url"}}
        container["env"] = [{"name": _STORE_URL, "valueFrom": url}]
        container["volumeMounts"] = [*_MOUNTS, {"name": "store", "mountPath": "/store", "readOnly": True}]
        password = {"secretName": store, "defaultMode": 0o440, "items": [{"key": "password", "path": "password"}]}
        volumes.append({"name": "store", "secret": password})
    spec = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY,
        "imagePullSecrets": [{"name": secret} for secret in collecting.pull_secrets],
        "containers": [container],
        "volumes": volumes,
    }
    told = {**_pods(collecting), SERVICE_LABEL: collecting.service}
    return {"metadata": {"labels": told, "annotations": annotations}, "spec": spec}


def _command(collecting: Collecting, labels_digest: str) -> Iterator[str]:
    yield from ("python", "-m", "perch.collector")
    yield from ("--host", "0.0.0.0", "--port", str(PORT))  # noqa: S104  in a pod
    if collecting.events.store_secret:
        yield from ("--store", f"$({_STORE_URL})", "--store-password-file", "/store/password")
    else:
        yield from ("--store", "/data/outcomes.sqlite")
    yield from ("--retention-days", f"{collecting.events.retention_days:g}")
    yield from ("--token-file", f"/token/{PREDICTIONS_KEY}", "--feedback-token-file", f"/token/{FEEDBACK_KEY}")
    yield from ("--judge-token-file", f"/token/{JUDGE_KEY}")
    yield from ("--control-token-file", f"/token/{CONTROL_KEY}", "--attributes-token-file", f"/token/{ATTRIBUTES_KEY}")
    yield from ("--labels-token-sha256", labels_digest)
    yield from ("--attribution-window-s", f"{collecting.attribution_window_s:g}")
