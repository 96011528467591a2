"""Trees learn from the rows of several workers, none of which holds them all."""

from pathlib import Path
from typing import Annotated

from hera.workflows import Parameter

from perch.pipeline.distributed import fit_distributed as fit_trees
from perch.pipeline.handover import read_ingested, read_prepared
from perch.workflows.given import service_of, settings_of
from perch.workflows.step import incoming, outgoing, step
from perch.workload.package import write_package


@step(cpu="100m", memory=None, deadline_s=6 * 3_600)
def fit_distributed(
    *,
    declaration: Annotated[str, Parameter(name="declaration")],
    address: Annotated[str, Parameter(name="address")],
    workers: Annotated[int, Parameter(name="workers")],
    prepared: Annotated[Path, incoming("prepared")],
    log: Annotated[Path, incoming("log")],
    model: Annotated[Path, outgoing("model")],
) -> Annotated[str, Parameter(name="digest")]:
    """Train trees on the workers of a Dask scheduler; the digest is that of a model which nobody has judged yet."""
    rows, settings = read_prepared(Path(prepared)), settings_of(service_of(declaration))
    scorer = fit_trees(read_ingested(Path(log)), rows, settings, address=address, workers=workers)
    return write_package(model, scorer, score_histogram=())
