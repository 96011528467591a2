"""The exit handler: whatever happened, those who want to know are told."""

from typing import Annotated

from hera.workflows import Parameter

from perch.workflows.step import step
from perch.workflows.telling import notify, sentence_of


@step(memory="256Mi", deadline_s=300)
def farewell(
    name: Annotated[str, Parameter(name="name", value="{{workflow.name}}")],
    status: Annotated[str, Parameter(name="status", value="{{workflow.status}}")],
    failures: Annotated[str, Parameter(name="failures", value="{{workflow.failures}}")],
) -> Annotated[str, Parameter(name="sentence")]:
    """Say how the workflow ended, to the address that the environment names, if it names one."""
    sentence = sentence_of(name, status, failures)
    notify(sentence)
    return sentence
