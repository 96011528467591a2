"""A release is done when its rollout has ended."""

from typing import Annotated

from hera.workflows import Parameter

from perch.workflows.place import here
from perch.workflows.releasing import await_end
from perch.workflows.step import RELEASING, step


@step(memory="256Mi", service_account_name=RELEASING, deadline_s=24 * 3_600)
def follow(
    service: Annotated[str, Parameter(name="service")],
    rollout: Annotated[str, Parameter(name="rollout")],
) -> Annotated[str, Parameter(name="sentence")]:
    """Wait for the end of a rollout, and say how it ended; what came home ends the workflow as failed."""
    return await_end(here(), service, rollout)
