"""A log that would train a wrong model ends the workflow here."""

import time
from pathlib import Path
from typing import Annotated

from hera.workflows import Parameter

from perch.pipeline.handover import read_ingested
from perch.pipeline.validate import validate as validate_log
from perch.workflows.step import incoming, step


@step(memory="2Gi")
def validate(log: Annotated[Path, incoming("log")]) -> Annotated[int, Parameter(name="clicks")]:
    """Check the log, and say how many clicks it has."""
    ingested = read_ingested(Path(log))
    return validate_log(ingested.load(), ingested.schema, now_s=time.time()).clicks
