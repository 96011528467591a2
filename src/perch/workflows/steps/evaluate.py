"""A model is judged on later days, and packaged as it will be served."""

from pathlib import Path
from typing import Annotated

from hera.workflows import Parameter

from perch.pipeline.evaluate import evaluate as evaluate_model
from perch.pipeline.gates.latency import requests_of
from perch.pipeline.handover import read_prepared, write_evaluation
from perch.pipeline.profile import profile
from perch.pipeline.reference import reference
from perch.workflows.given import service_of, settings_of
from perch.workflows.step import incoming, outgoing, step
from perch.workload.package import load_package, write_package


@step(memory=None)
def evaluate(
    *,
    declaration: Annotated[str, Parameter(name="declaration")],
    prepared: Annotated[Path, incoming("prepared")],
    model: Annotated[Path, incoming("model")],
    package: Annotated[Path, outgoing("package")],
    evaluation: Annotated[Path, outgoing("evaluation")],
    requests: Annotated[Path, outgoing("requests")],
) -> Annotated[str, Parameter(name="digest")]:
    """Evaluate a model, write its package, and the requests by which its latency is measured."""
    rows, scorer = read_prepared(Path(prepared)), load_package(Path(model))
    settings = settings_of(service_of(declaration))
    judged = evaluate_model(scorer, rows, settings)
    write_evaluation(evaluation, judged)
    requests.write_bytes(requests_of(rows))
    histogram, inputs = judged.score_histogram, profile(scorer, rows)
    return write_package(
        package, scorer, score_histogram=histogram, profile=inputs, reference=reference(rows, settings)
    )
