"""What judges one service in a cluster: a Deployment beside its collector, and a CronJob that inspects the champion.

Not in the collector's pod: a pod in which one container fails is not ready, and labels are not to wait for Evidently.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from zlib import crc32

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


def inspection_name(service: str) -> str:
    """Name of the CronJob that inspects a service."""
    return f"{service}-inspect"


def deployment(collecting: Collecting, judging: Judging) -> Manifest:
    """Runs the judge."""
    selected = {"app.kubernetes.io/name": "perch-judge", "app.kubernetes.io/instance": collecting.service}
    spec = {"replicas": 1, "selector": {"matchLabels": selected}, "template": _pod(collecting, judging, "perch.judge")}
    metadata = _metadata(collecting, judge_name(collecting.service))
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def cron_job(collecting: Collecting, judging: Judging) -> Manifest:
    """Inspects the champion once an hour; not all services in the same minute, for Evidently takes a processor."""
    template = _pod(collecting, judging, "perch.judge.inspect")
    template["spec"]["restartPolicy"] = "Never"
    spec = {
        "schedule": f"{crc32(collecting.service.encode()) % 60} * * * *",
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 600,
        "successfulJobsHistoryLimit": 1,
        "failedJobsHistoryLimit": 1,
        "jobTemplate": {"spec": {"backoffLimit": 0, "activeDeadlineSeconds": 1_200, "template": template}},
    }
    metadata = _metadata(collecting, inspection_name(collecting.service))
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": spec}


def _metadata(collecting: Collecting, name: str) -> Manifest:
    return {"name": name, "namespace": collecting.namespace, "labels": labels(collecting.service)}


def _pod(collecting: Collecting, judging: Judging, module: str) -> Manifest:
    """The template of a pod, which policies of the network know as a judge."""
    known = {
        "app.kubernetes.io/name": "perch-judge",
        "app.kubernetes.io/instance": collecting.service,
        SERVICE_LABEL: collecting.service,
    }
    container = {
        "name": "judge",
        "image": judging.image,
        "command": list(_command(collecting, judging, module)),
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
    spec = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY,
        "imagePullSecrets": [{"name": secret} for secret in collecting.pull_secrets],
        "containers": [container],
        "volumes": [{"name": "token", "secret": token}, {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}],
    }
    return {"metadata": {"labels": known}, "spec": spec}


def _command(collecting: Collecting, judging: Judging, module: str) -> Iterator[str]:
    yield from ("python", "-m", module)
    yield from ("--collector", collecting.url, "--token-file", _TOKEN)
    yield from ("--registry", judging.registry_url, "--model", judging.model)
