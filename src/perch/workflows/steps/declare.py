"""The first step: what is asked for, read once, so that all further steps mean the same."""

from typing import Annotated

from hera.workflows import Output, Parameter

from perch.settings import to_yaml
from perch.workflows.given import data_key, prepared_key
from perch.workflows.place import here
from perch.workflows.step import RELEASING, step


class Declared(Output):
    """What is asked for."""

    declaration: Annotated[str, Parameter(name="declaration")]
    """The ModelService as text."""

    model: Annotated[str, Parameter(name="model")]
    candidates: Annotated[tuple[str, ...], Parameter(name="candidates")]
    """Kinds of model to train beside the baseline."""

    data_key: Annotated[str, Parameter(name="data-key")]
    """The same for the same log, read by the same code."""

    prepared_key: Annotated[str, Parameter(name="prepared-key")]
    """The same where the prepared log is the same, too."""


@step(memory="512Mi", credentials=True, service_account_name=RELEASING)
def declare(service: Annotated[str, Parameter(name="service")]) -> Declared:
    """Read the declaration of a service, and what state its data are in."""
    found = here().declaration(service)
    key = data_key(found)
    return Declared(
        declaration=to_yaml(found),
        model=found.spec.model,
        candidates=found.spec.training.candidates,
        data_key=key,
        prepared_key=prepared_key(key, found),
    )
