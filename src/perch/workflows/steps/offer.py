"""The last step of training: the best of those that passed asks for traffic, or the workflow fails and says why."""

from typing import Annotated

from hera.workflows import Parameter

from perch.pipeline.offer import offer as offer_best
from perch.workflows.given import service_of
from perch.workflows.place import here
from perch.workflows.step import step


@step(memory="512Mi", credentials=True)
def offer(
    declaration: Annotated[str, Parameter(name="declaration")],
    versions: Annotated[list[int], Parameter(name="versions")],
) -> Annotated[int, Parameter(name="version")]:
    """Give the role of the challenger to the best version that passed its gates."""
    return offer_best(here().registry(), service_of(declaration).spec.model, versions)
