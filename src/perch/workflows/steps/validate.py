"""A log that would train a wrong model ends the workflow here."""

import time
from pathlib import Path
from typing import Annotated

from hera.workflows import Parameter

from perch.pipeline.handover import read_ingested
from perch.pipeline.streaming import validate_log
from perch.workflows.given import service_of, settings_of
from perch.workflows.step import incoming, step


@step(memory=None)
def validate(
    declaration: Annotated[str, Parameter(name="declaration")], log: Annotated[Path, incoming("log")]
) -> Annotated[int, Parameter(name="clicks")]:
    """Check the log, and say how many clicks it has."""
    settings = settings_of(service_of(declaration))
    return validate_log(read_ingested(Path(log)), settings, now_s=time.time())
