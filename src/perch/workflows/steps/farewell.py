"""The exit handler: whatever happened, those who want to know are told, and what is long done is cleaned up."""

from datetime import UTC, datetime
from typing import Annotated

from hera.workflows import Parameter

from perch.errors import PlatformError
from perch.workflows.clearing import clear
from perch.workflows.step import step
from perch.workflows.telling import notify, sentence_of


@step(memory="256Mi", credentials=True, deadline_s=300)
def farewell(
    name: Annotated[str, Parameter(name="name", value="{{workflow.name}}")],
    namespace: Annotated[str, Parameter(name="namespace", value="{{workflow.namespace}}")],
    status: Annotated[str, Parameter(name="status", value="{{workflow.status}}")],
    failures: Annotated[str, Parameter(name="failures", value="{{workflow.failures}}")],
) -> Annotated[str, Parameter(name="sentence")]:
    """Say how the workflow ended, to the address that the environment names, if it names one."""
    sentence = sentence_of(name, status, failures)
    today = datetime.now(UTC).date()
    for deed in (lambda: notify(sentence, {"workflow": name, "namespace": namespace}), lambda: clear(namespace, today)):
        try:
            deed()
        except PlatformError as error:  # a workflow is as good as its steps, whoever could not be told of it
            print(error)  # noqa: T201  the step's log
    return sentence
