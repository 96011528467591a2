"""The last step of training: the best of those that passed asks for traffic, or the workflow fails and says why."""

from typing import Annotated

from hera.workflows import Output, Parameter

from perch.adapters.registry.port import Role
from perch.pipeline.offer import offer as offer_best
from perch.workflows.given import service_of
from perch.workflows.place import here
from perch.workflows.step import step


class Offered(Output):
    """What comes of a training."""

    version: Annotated[int, Parameter(name="version")]
    offered: Annotated[str, Parameter(name="offered")]
    """One sentence: whether it asks for traffic."""


@step(memory="512Mi", credentials=True)
def offer(
    declaration: Annotated[str, Parameter(name="declaration")],
    versions: Annotated[list[int], Parameter(name="versions")],
) -> Offered:
    """Give the role of the challenger to the best version that passed its gates."""
    registry, model = here().registry(), service_of(declaration).spec.model
    version = offer_best(registry, model, versions)
    serves = Role.CHAMPION in registry.get(model, version).roles
    sentence = (
        f"Version {version} serves already: nothing new is offered."
        if serves
        else f"Version {version} asks for traffic."
    )
    return Offered(version=version, offered=sentence)
