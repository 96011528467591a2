"""One candidate learns."""

from pathlib import Path
from typing import Annotated

from hera.workflows import Parameter

from perch.pipeline.handover import read_prepared
from perch.pipeline.train import fit as fit_model
from perch.workflows.given import service_of, settings_of
from perch.workflows.step import incoming, outgoing, step
from perch.workload.package import write_package


@step(cpu="500m", memory=None, deadline_s=6 * 3_600)
def fit(
    declaration: Annotated[str, Parameter(name="declaration")],
    kind: Annotated[str, Parameter(name="kind")],
    prepared: Annotated[Path, incoming("prepared")],
    model: Annotated[Path, outgoing("model")],
) -> Annotated[str, Parameter(name="digest")]:
    """Train one kind of model; the digest is that of a model which nobody has judged yet."""
    scorer = fit_model(read_prepared(Path(prepared)), kind, settings_of(service_of(declaration)))
    return write_package(model, scorer, score_histogram=())
