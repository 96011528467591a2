"""`perch-release`: wish for a version, and follow its rollout to the end."""

from typing import Final

from hera.workflows import DAG, Parameter, WorkflowTemplate
from hera.workflows import models as m

from perch.workflows.shape import template
from perch.workflows.steps.follow import follow
from perch.workflows.steps.wish import wish

NAME: Final = "perch-release"


def release() -> WorkflowTemplate:
    """The workflow that releases a version; without one, the challenger."""
    with (
        template(NAME, {"service": "ads", "version": "", "reason": "a person asked for it"}) as workflow,
        DAG(
            name="release",
            inputs=[Parameter(name="service"), Parameter(name="version")],
            outputs=[
                Parameter(
                    name="sentence", value_from=m.ValueFrom(parameter="{{tasks.follow.outputs.parameters.sentence}}")
                )
            ],
        ) as dag,
    ):
        service = dag.get_parameter("service")
        wished = wish(arguments={"service": service, "version": dag.get_parameter("version")})
        wished >> follow(arguments={"service": service, "rollout": wished.get_parameter("rollout")})
    return workflow
