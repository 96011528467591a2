"""Labels matured, windows cut, feature tables counted: the same for all candidates."""

from pathlib import Path
from typing import Annotated

from hera.workflows import Parameter

from perch.pipeline.handover import read_ingested, write_prepared
from perch.pipeline.streaming import prepare_log
from perch.workflows.given import kinds_of, service_of, settings_of
from perch.workflows.step import incoming, outgoing, scratch, step


@step(memory=None)
def features(
    declaration: Annotated[str, Parameter(name="declaration")],
    log: Annotated[Path, incoming("log")],
    prepared: Annotated[Path, outgoing("prepared")],
) -> None:
    """Prepare the log for training."""
    ingested, service = read_ingested(Path(log)), service_of(declaration)
    with scratch() as folder:
        write_prepared(prepared, prepare_log(ingested, settings_of(service), scratch=folder, kinds=kinds_of(service)))
