"""The same once more: equal data and an equal seed must give an equal model."""

from pathlib import Path
from typing import Annotated

from hera.workflows import Parameter

from perch.pipeline.evaluate import evaluate
from perch.pipeline.handover import read_prepared
from perch.pipeline.profile import profile
from perch.pipeline.reference import reference
from perch.pipeline.train import fit
from perch.workflows.given import service_of, settings_of
from perch.workflows.step import incoming, scratch, step
from perch.workload.package import write_package


@step(cpu="500m", memory=None, deadline_s=6 * 3_600)
def repeat(
    declaration: Annotated[str, Parameter(name="declaration")],
    kind: Annotated[str, Parameter(name="kind")],
    prepared: Annotated[Path, incoming("prepared")],
) -> Annotated[str, Parameter(name="digest")]:
    """Train and package a model in a process of its own, keep nothing of it but its digest."""
    rows, settings = read_prepared(Path(prepared)), settings_of(service_of(declaration))
    scorer = fit(rows, kind, settings)
    histogram = evaluate(scorer, rows, settings).score_histogram
    with scratch() as folder:
        inputs = profile(scorer, rows)
        return write_package(
            folder / kind, scorer, score_histogram=histogram, profile=inputs, reference=reference(rows, settings)
        )
