"""The gates: what they find goes into the record, and the record decides whether the model may be offered."""

import time
from pathlib import Path
from typing import Annotated

from hera.workflows import Parameter

from perch.pipeline.case import Case
from perch.pipeline.gates import ask
from perch.pipeline.handover import read_evaluation, read_prepared
from perch.pipeline.incumbents import incumbents
from perch.workflows.given import service_of, settings_of
from perch.workflows.place import here
from perch.workflows.step import incoming, outgoing, scratch, step
from perch.workload.latency import read_proof
from perch.workload.package import load_package, package_digest


@step(memory=None, credentials=True)
def judge(
    *,
    declaration: Annotated[str, Parameter(name="declaration")],
    kind: Annotated[str, Parameter(name="kind")],
    repeated: Annotated[str, Parameter(name="repeated")],
    prepared: Annotated[Path, incoming("prepared")],
    package: Annotated[Path, incoming("package")],
    evaluation: Annotated[Path, incoming("evaluation")],
    proof: Annotated[Path, incoming("proof")],
    record: Annotated[Path, outgoing("record")],
) -> Annotated[str, Parameter(name="reason")]:
    """Ask all gates about a candidate, and say what decided; `repeated` is empty for one that was fitted once."""
    service, rows = service_of(declaration), read_prepared(Path(prepared))
    settings = settings_of(service)
    with scratch() as folder:
        champion, baseline = incumbents(here().registry(), service.spec.model, rows, settings, folder)
        case = Case(
            kind=kind,
            package=Path(package),
            digest=package_digest(Path(package)),
            scorer=load_package(Path(package)),
            evaluation=read_evaluation(Path(evaluation)),
            prepared=rows,
            champion=champion,
            baseline=baseline,
            settings=settings,
            now_s=time.time(),
            proof=read_proof(Path(proof)),
            repeated_digest=repeated or None,
        )
        found = ask(case)
    record.write_text(found.to_json(), encoding="utf-8")
    return found.reason
