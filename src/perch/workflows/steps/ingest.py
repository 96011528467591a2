"""The click log, in one layout."""

from pathlib import Path
from typing import Annotated

from hera.workflows import Parameter

from perch.pipeline.handover import write_ingested
from perch.pipeline.ingest import ingest as ingest_log
from perch.workflows.given import service_of, source_of
from perch.workflows.step import outgoing, scratch, step


@step(memory=None, credentials=True)
def ingest(
    declaration: Annotated[str, Parameter(name="declaration")],
    log: Annotated[Path, outgoing("log")],
) -> Annotated[str, Parameter(name="digest")]:
    """Read the log into one file, and say its digest."""
    with scratch() as folder:
        ingested = ingest_log(source_of(service_of(declaration), folder), log)
    write_ingested(log, ingested)
    return ingested.digest
