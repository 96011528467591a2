"""A model becomes a version, with everything that explains it: also one that was refused, which is never offered."""

from pathlib import Path
from typing import Annotated

from hera.workflows import Parameter
from hera.workflows import models as m

from perch.pipeline.handover import read_evaluation, read_prepared
from perch.pipeline.offer import seat
from perch.pipeline.record import Record
from perch.pipeline.register import register as register_version
from perch.workflows.given import service_of, settings_of
from perch.workflows.place import here
from perch.workflows.step import incoming, step


@step(
    memory=None,
    credentials=True,
    synchronization=m.Synchronization(mutexes=[m.Mutex(name="perch-register-{{inputs.parameters.model}}")]),
)
def register(
    *,
    declaration: Annotated[str, Parameter(name="declaration")],
    model: Annotated[str, Parameter(name="model")],
    workflow: Annotated[str, Parameter(name="workflow", value="{{workflow.name}}")],
    reason: Annotated[str, Parameter(name="reason")],
    prepared: Annotated[Path, incoming("prepared")],
    package: Annotated[Path, incoming("package")],
    evaluation: Annotated[Path, incoming("evaluation")],
    record: Annotated[Path | None, incoming("record", optional=True)] = None,
) -> Annotated[int, Parameter(name="version")]:
    """Register a packaged model, one at a time for each model; the same one again is the same version."""
    registry = here().registry()
    version = register_version(
        Path(package),
        read_evaluation(Path(evaluation)),
        read_prepared(Path(prepared)),
        settings_of(service_of(declaration)),
        registry=registry,
        model=model,
        record=None if record is None else Record.from_json(Path(record).read_text(encoding="utf-8")),
        origin={"workflow": workflow, "reason": reason},
    )
    if record is None:
        seat(registry, version)
    return version.version
