"""A release begins as a wish: the declaration asks for the version, and Perch does the rest."""

from typing import Annotated

from hera.workflows import Parameter

from perch.workflows.place import here
from perch.workflows.releasing import begin
from perch.workflows.step import RELEASING, step


@step(memory="256Mi", credentials=True, service_account_name=RELEASING, deadline_s=900)
def wish(
    service: Annotated[str, Parameter(name="service")],
    version: Annotated[str, Parameter(name="version")],
) -> Annotated[str, Parameter(name="rollout")]:
    """Wish for a version, the challenger where none is named, and say the name of its rollout; empty: it serves."""
    return begin(here(), service, int(version) if version else None)
