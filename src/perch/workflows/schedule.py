"""CronWorkflows: `perch-retrain` of one service every hour, or every day."""

from typing import Final, Literal

from hera.workflows import CronWorkflow, Parameter
from hera.workflows import models as m

from perch.workflows import retrain

Every = Literal["hour", "day"]

_SCHEDULES: Final[dict[Every, str]] = {"hour": "17 * * * *", "day": "17 3 * * *"}
"""Not on the hour, when everything else is begun."""

_STARTED_LATE_S: Final[dict[Every, int]] = {"hour": 1_800, "day": 6 * 3_600}
"""A run that could not begin in time, since the controller was away, is begun up to so much later."""


def schedule(service: str, every: Every, memory: str) -> CronWorkflow:
    """The CronWorkflow that retrains `service`; a run that is due while another one goes on is left out.

    Args:
        service: Name of the ModelService.
        every: How often.
        memory: What a pod that trains may take, as Kubernetes writes it.
    """
    return CronWorkflow(
        name=f"{service}-retrain",
        labels={"app.kubernetes.io/part-of": "perch", "perch.dev/service": service},
        schedules=[_SCHEDULES[every]],
        timezone="Etc/UTC",
        concurrency_policy="Forbid",
        starting_deadline_seconds=_STARTED_LATE_S[every],
        successful_jobs_history_limit=3,
        failed_jobs_history_limit=3,
        arguments=[
            Parameter(name="service", value=service),
            Parameter(name="reason", value=f"schedule: every {every}"),
            Parameter(name="memory", value=memory),
        ],
        workflow_template_ref=m.WorkflowTemplateRef(name=retrain.NAME),
    )
