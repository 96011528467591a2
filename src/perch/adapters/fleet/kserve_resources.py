"""What the InferenceService of a version says.

A version's model comes into the pod by its registry version: an init container fetches the package and checks it
against the digest that was registered. So a release needs no image of its own, and a pod that restarts has the same
bytes. Pods fit a namespace that enforces the `restricted` Pod Security Standard.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from perch.adapters.cluster.objects import (
    FINGERPRINT_LABEL,
    LIVE_PORT,
    MIRROR_PORT,
    SERVICE_LABEL,
    VERSION_LABEL,
    Manifest,
    labels,
)
from perch.adapters.cluster.restricted import LOCKED_DOWN, POD_SECURITY
from perch.adapters.labels.collector_resources import PREDICTIONS_KEY, collector_name
from perch.adapters.registry.port import ModelVersion
from perch.settings.schema import Events

PORT: Final = 8080
_MIRROR_TARGET: Final = 8081

_PACKAGE = "/model/package"
_MOUNTS = [{"name": "model", "mountPath": "/model"}, {"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108  a volume
_LIFE = {
    "ports": [{"name": "http1", "containerPort": PORT, "protocol": "TCP"}],
    "startupProbe": {
        "httpGet": {"path": "/v2/health/ready", "port": PORT},
        "periodSeconds": 1,
        "failureThreshold": 120,
    },
    "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": PORT}, "periodSeconds": 5, "timeoutSeconds": 2},
    "livenessProbe": {
        "httpGet": {"path": "/v2/health/live", "port": PORT},
        "periodSeconds": 10,
        "timeoutSeconds": 5,
        "failureThreshold": 6,
    },
    # The gateway goes on sending for a moment after the pod is told to end.
    "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
}


@dataclass(frozen=True, slots=True)
class Serving:
    """How the versions of one service are run."""

    service: str
    namespace: str
    model: str
    image: str
    """With `perch.serving` in it."""

    registry_url: str
    """Where a pod fetches packages."""

    slo_latency_ms: float
    replicas: int
    cpu: str
    memory: str
    """Requests and limit of a pod, as Kubernetes' quantities; the CPU is not limited."""

    token_secret: str | None = None
    """Secret with a `token` that opens the fault switches; `None`: faults cannot be switched."""

    collector_url: str | None = None
    """Who is told each prediction; `None`: nobody."""

    events: Events = field(default_factory=Events)
    """What is told of each prediction."""

    pull_secrets: tuple[str, ...] = ()
    """Secrets by which the image is pulled."""

    @property
    def fingerprint(self) -> str:
        """Tells two ways to run versions apart, in a label."""
        return sha256(repr(self).encode()).hexdigest()[:12]


def object_name(service: str, version: int) -> str:
    """Name of a version's InferenceService."""
    return f"{service}-v{version}"


def inference_service(serving: Serving, version: ModelVersion) -> Manifest:
    """The object that runs a version."""
    told = {**labels(serving.service), VERSION_LABEL: str(version.version)}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": object_name(serving.service, version.version),
            "namespace": serving.namespace,
            "labels": {
                **told,
                FINGERPRINT_LABEL: serving.fingerprint,
                "networking.kserve.io/visibility": "cluster-local",  # the route is ours
            },
            "annotations": {
                "serving.kserve.io/deploymentMode": "Standard",
                "serving.kserve.io/autoscalerClass": "none",
                "prometheus.io/scrape": "true",
                "prometheus.io/port": str(PORT),
                "prometheus.io/path": "/metrics",
            },
        },
        "spec": {"predictor": _predictor(serving, version)},
    }


def version_service(serving: Serving, version: int) -> Manifest:
    """The Service that leads to a version's pods."""
    pods = {SERVICE_LABEL: serving.service, VERSION_LABEL: str(version)}
    ports = {"live": (LIVE_PORT, PORT), "mirror": (MIRROR_PORT, _MIRROR_TARGET)}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": object_name(serving.service, version),
            "namespace": serving.namespace,
            "labels": {**labels(serving.service), VERSION_LABEL: str(version)},
        },
        "spec": {
            "selector": pods,
            "ports": [{"name": name, "port": port, "targetPort": to} for name, (port, to) in ports.items()],
        },
    }


def _predictor(serving: Serving, version: ModelVersion) -> Manifest:
    resources = {
        "requests": {"cpu": serving.cpu, "memory": serving.memory},
        "limits": {"memory": serving.memory},
    }
    common = {"image": serving.image, "resources": resources, "securityContext": LOCKED_DOWN, "volumeMounts": _MOUNTS}
    secrets = dict(_secrets(serving))
    server: Manifest = {
        **common,
        "name": "kserve-container",
        "args": list(_serve_arguments(serving, version)),
        "volumeMounts": [*_MOUNTS, *({"name": one, "mountPath": f"/{one}", "readOnly": True} for one in secrets)],
        **_LIFE,
    }
    return {
        "minReplicas": serving.replicas,
        "maxReplicas": serving.replicas,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": POD_SECURITY,
        "imagePullSecrets": [{"name": secret} for secret in serving.pull_secrets],
        "initContainers": [{**common, "name": "fetch", "command": list(_fetch_command(serving, version))}],
        "containers": [server],
        "volumes": [
            {"name": "model", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            *({"name": one, "secret": secret} for one, secret in secrets.items()),
        ],
    }


def _secrets(serving: Serving) -> Iterator[tuple[str, Manifest]]:
    """Volumes of tokens, by their names. Of the collector's Secret the pods see what opens it for predictions."""
    if serving.token_secret:
        yield "token", {"secretName": serving.token_secret}
    if serving.collector_url:
        items = [{"key": PREDICTIONS_KEY, "path": "token"}]
        yield "collector", {"secretName": collector_name(serving.service), "items": items}


def _fetch_command(serving: Serving, version: ModelVersion) -> Iterator[str]:
    yield from ("python", "-m", "perch.serving.fetch", "--registry", serving.registry_url)
    yield from ("--model", serving.model, "--version", str(version.version))
    yield from ("--digest", version.digest, "--into", _PACKAGE)


def _serve_arguments(serving: Serving, version: ModelVersion) -> Iterator[str]:
    yield from ("--package", _PACKAGE, "--digest", version.digest)
    yield from ("--model", serving.model, "--version", str(version.version))
    yield from ("--host", "0.0.0.0", "--port", str(PORT), "--mirror-port", str(_MIRROR_TARGET))  # noqa: S104  in a pod
    yield from ("--slo-latency-ms", str(serving.slo_latency_ms))
    if serving.token_secret:
        yield from ("--token-file", "/token/token", "--allow-faults")
    if serving.collector_url:
        yield from ("--collector", serving.collector_url, "--collector-token-file", "/collector/token")
        yield from ("--journal", "/tmp/unsent")  # noqa: S108  a volume, which outlives a container
        yield from ("--features-share", f"{serving.events.features_share:g}")
        if serving.events.user_column:
            yield from ("--user-column", serving.events.user_column)
