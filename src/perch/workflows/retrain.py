"""`perch-retrain`: train, and release what passed; by a schedule, by drift or decay, or because a person asked."""

from typing import Final

from hera.workflows import DAG, Parameter, Task, WorkflowTemplate
from hera.workflows import models as m

from perch.workflows import release, train
from perch.workflows.shape import template

NAME: Final = "perch-retrain"


def retrain() -> WorkflowTemplate:
    """The workflow that does both, one after the other."""
    with (
        template(NAME, train.ASKED) as workflow,
        DAG(name="retrain", inputs=[Parameter(name="service"), Parameter(name="reason")]) as dag,
    ):
        service = dag.get_parameter("service")
        trained = Task(
            name="train",
            template_ref=m.TemplateRef(name=train.NAME, template="train"),
            arguments={"service": service, "reason": dag.get_parameter("reason")},
        )
        released = Task(
            name="release",
            template_ref=m.TemplateRef(name=release.NAME, template="release"),
            arguments={"service": service, "version": "{{tasks.train.outputs.parameters.version}}"},
        )
        trained >> released
    return workflow
