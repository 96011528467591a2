"""What all workflows have in common: who they run as, how long they may take, what is counted, how they end."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from hera.workflows import Parameter, WorkflowTemplate
from hera.workflows import models as m

from perch.workflows.steps.farewell import farewell

ACCOUNT: Final = "perch-training"
"""Service account of the pods: it may report a step's outputs, and nothing else."""

_MEMORY: Final = "perch-training-memory"
"""ConfigMap in which Argo remembers; the chart puts its own in its place, or leaves it out."""

_NO_MORE: Final = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
_EXECUTOR: Final = json.dumps(
    {
        "initContainers": [{"name": "init", "securityContext": _NO_MORE}],
        "containers": [{"name": "wait", "securityContext": _NO_MORE}],
    }
)
"""Argo's own containers, in every pod: what the restricted Pod Security Standard asks of them. Where the controller's
configuration says nothing of that, Argo leaves it open."""

_USER: Final = 10_001
_DAY_S: Final = 86_400


@contextmanager
def template(name: str, parameters: Mapping[str, str]) -> Iterator[WorkflowTemplate]:
    """A workflow template, to be filled with its DAGs, whose entrypoint is called as it is, but for `perch-`.

    Args:
        name: Such as `perch-train`.
        parameters: What may be asked of it, with defaults; all have one, so that a click in Argo's page starts it.
    """
    with WorkflowTemplate(
        name=name,
        entrypoint=name.removeprefix("perch-"),
        arguments=[Parameter(name=key, value=value) for key, value in parameters.items()],
        labels={"app.kubernetes.io/part-of": "perch"},
        workflow_metadata=m.WorkflowMetadata(
            labels={"app.kubernetes.io/part-of": "perch"},
            labels_from={"perch.dev/service": m.LabelValueFrom(expression="workflow.parameters.service")},
        ),
        pod_metadata=m.Metadata(labels={"app.kubernetes.io/name": "perch-training"}),
        artifact_repository_ref=m.ArtifactRepositoryRef(config_map="perch-artifacts"),
        service_account_name=ACCOUNT,
        security_context=m.PodSecurityContext(
            run_as_non_root=True,
            run_as_user=_USER,
            run_as_group=_USER,
            fs_group=_USER,
            seccomp_profile=m.SeccompProfile(type="RuntimeDefault"),
        ),
        pod_spec_patch=_EXECUTOR,
        active_deadline_seconds=2 * _DAY_S,
        ttl_strategy=m.TTLStrategy(seconds_after_success=_DAY_S, seconds_after_failure=7 * _DAY_S),
        pod_gc=m.PodGC(strategy="OnPodSuccess"),
        on_exit="farewell",
        metrics=_metrics(name),
    ) as made:
        farewell()
        yield made


def remembered(key: str) -> m.Memoize:
    """What a DAG made is taken for a day, where its input parameter `key` is the same.

    Argo keeps it in the namespace of its controller, for all namespaces. It is asked of DAGs of one step, not of the
    step: a template that is memoised and retried leaves Argo 4.0 without an end of the workflow when it remembers.
    """
    cache = m.Cache(config_map=m.LocalObjectReference(name=_MEMORY))
    value = f"{{{{inputs.parameters.{key}}}}}"
    return m.Memoize(key=f"{{{{workflow.namespace}}}}-{key}-{value}", max_age="24h", cache=cache)


def _metrics(name: str) -> list[m.Prometheus]:
    labels = [
        m.MetricLabel(key="workflow", value=name),
        m.MetricLabel(key="service", value="{{workflow.parameters.service}}"),
        m.MetricLabel(key="namespace", value="{{workflow.namespace}}"),
    ]
    return [
        m.Prometheus(
            name="perch_workflow_last_success_timestamp_seconds",
            help="When the last workflow that succeeded was begun.",
            labels=labels,
            when="{{status}} == Succeeded",
            gauge=m.Gauge(realtime=False, value="{{workflow.creationTimestamp.s}}"),
        ),
        m.Prometheus(
            name="perch_workflow_ends_total",
            help="Workflows that ended, by how they did.",
            labels=[*labels, m.MetricLabel(key="status", value="{{status}}")],
            counter=m.Counter(value="1"),
        ),
        m.Prometheus(
            name="perch_workflow_duration_seconds",
            help="How long the last workflow took.",
            labels=labels,
            gauge=m.Gauge(realtime=False, value="{{workflow.duration}}"),
        ),
    ]
