"""What runs the external judge of one service in a cluster: a Deployment beside its collector.

Not in the collector's pod: a pod in which one container fails is not ready, and labels are not to wait for Evidently.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from perch.adapters.cluster.objects import SERVICE_LABEL, Manifest, labels
from perch.adapters.cluster.restricted import LOCKED_DOWN, POD_SECURITY
from perch.adapters.labels.collector_resources import JUDGE_KEY, Collecting

_TOKEN: Final = "/token/judge-token"  # noqa: S105  a path


@dataclass(frozen=True, slots=True)
class Judging:
    """How what the arms of one service are given is judged."""

    image: str
    """With `perch.judge` and Evidently in it: that of training."""

    model: str
    registry_url: str


def judge_name(service: str) -> str:
    """Name of the Deployment that judges a service."""
    return f"{service}-judge"


def deployment(collecting: Collecting, judging: Judging) -> Manifest:
    """Runs the judge."""
    selected = {"app.kubernetes.io/name": "perch-judge", "app.kubernetes.io/instance": collecting.service}
    metadata = {
        "name": judge_name(collecting.service),
        "namespace": collecting.namespace,
        "labels": labels(collecting.service),
    }
    template = {
        "metadata": {"labels": {**selected, SERVICE_LABEL: collecting.service}},
        "spec": _pod(collecting, judging),
    }
    spec = {"replicas": 1, "selector": {"matchLabels": selected}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def _pod(collecting: Collecting, judging: Judging) -> Manifest:
    container = {
        "name": "judge",
        "image": judging.image,
        "command": list(_command(collecting, judging)),
        "resources": {"requests": {"cpu": "50m", "memory": "384Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": LOCKED_DOWN,
        "volumeMounts": [
            {"name": "token", "mountPath": "/token", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  a volume
        ],
    }
    token = {
        "secretName": collecting.name,
        "defaultMode": 0o440,
        "optional": True,
        "items": [{"key": JUDGE_KEY, "path": JUDGE_KEY}],
    }
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY,
        "imagePullSecrets": [{"name": secret} for secret in collecting.pull_secrets],
        "containers": [container],
        "volumes": [{"name": "token", "secret": token}, {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}],
    }


def _command(collecting: Collecting, judging: Judging) -> Iterator[str]:
    yield from ("python", "-m", "perch.judge")
    yield from ("--collector", collecting.url, "--token-file", _TOKEN)
    yield from ("--registry", judging.registry_url, "--model", judging.model)
