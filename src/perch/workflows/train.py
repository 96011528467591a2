"""`perch-train`: ingest → validate → features → the baseline, then all candidates beside each other → offer.

A candidate is fitted twice, by two pods, for a model that nobody can make again cannot be trusted. What fails a gate is
registered with the reason; only when no candidate passes all of its gates does the workflow fail.
"""

from typing import Final

from hera.workflows import DAG, Artifact, Container, Parameter, Task, WorkflowTemplate
from hera.workflows import models as m

from perch.pipeline.features import BASELINE_KIND
from perch.workflows.shape import template
from perch.workflows.step import SERVING_IMAGE, pod
from perch.workflows.steps.declare import declare
from perch.workflows.steps.evaluate import evaluate
from perch.workflows.steps.features import features
from perch.workflows.steps.fit import fit
from perch.workflows.steps.ingest import ingest
from perch.workflows.steps.judge import judge
from perch.workflows.steps.offer import offer
from perch.workflows.steps.register import register
from perch.workflows.steps.repeat import repeat
from perch.workflows.steps.validate import validate

NAME: Final = "perch-train"
_PROOF_S: Final = 10
_GIVEN: Final = ("declaration", "model", "reason")


def train() -> WorkflowTemplate:
    """The workflow that trains, judges, registers and offers."""
    with template(NAME, {"service": "ads", "reason": "a person asked for it"}) as workflow:
        prove = _prove()
        baseline, candidate = _baseline(), _candidate(prove)
        with DAG(
            name="train",
            inputs=[Parameter(name="service"), Parameter(name="reason")],
            outputs=[_from("version", "offer")],
        ) as dag:
            asked = declare(arguments={"service": dag.get_parameter("service")})
            said = asked.get_parameter("declaration")
            log = ingest(arguments={"declaration": said, "data-key": asked.get_parameter("data-key")})
            checked = validate(arguments={"log": log.get_artifact("log")})
            rows = features(
                arguments={
                    "declaration": said,
                    "prepared-key": asked.get_parameter("prepared-key"),
                    "log": log.get_artifact("log"),
                }
            )
            given = {
                "declaration": said,
                "model": asked.get_parameter("model"),
                "reason": dag.get_parameter("reason"),
                "prepared": rows.get_artifact("prepared"),
            }
            first = baseline(name="baseline", arguments=given)
            others = candidate(
                name="candidates",
                arguments={**given, "kind": "{{item}}"},
                with_param=asked.get_parameter("candidates"),
            )
            best = offer(arguments={"declaration": said, "versions": "{{tasks.candidates.outputs.parameters.version}}"})
            asked >> log >> checked >> rows >> first >> others >> best
    return workflow


def _baseline() -> DAG:
    """The simple model, which no gate keeps out: there must be something to come home to."""
    with DAG(
        name="baseline",
        inputs=[*_parameters(*_GIVEN), Artifact(name="prepared")],
        outputs=[_from("version", "register")],
    ) as dag:
        said, rows = dag.get_parameter("declaration"), dag.get_artifact("prepared")
        model = fit(arguments={"declaration": said, "kind": BASELINE_KIND, "prepared": rows})
        judged = evaluate(arguments={"declaration": said, "prepared": rows, "model": model.get_artifact("model")})
        known = register(arguments=_registered(dag, BASELINE_KIND, judged))
        model >> judged >> known
    return dag


def _candidate(prove: Container) -> DAG:
    """A model that asks for traffic."""
    with DAG(
        name="candidate",
        inputs=[*_parameters(*_GIVEN, "kind"), Artifact(name="prepared")],
        outputs=[_from("version", "register")],
    ) as dag:
        said, rows, kind = dag.get_parameter("declaration"), dag.get_artifact("prepared"), dag.get_parameter("kind")
        model = fit(arguments={"declaration": said, "kind": kind, "prepared": rows})
        again = repeat(arguments={"declaration": said, "kind": kind, "prepared": rows})
        judged = evaluate(arguments={"declaration": said, "prepared": rows, "model": model.get_artifact("model")})
        proven = Task(
            name="prove",
            template=prove,
            arguments={"package": judged.get_artifact("package"), "requests": judged.get_artifact("requests")},
        )
        said_of_it = judge(
            arguments={
                "declaration": said,
                "kind": kind,
                "repeated": again.get_parameter("digest"),
                "prepared": rows,
                "package": judged.get_artifact("package"),
                "evaluation": judged.get_artifact("evaluation"),
                "proof": proven.get_artifact("proof"),
            }
        )
        known = register(arguments={**_registered(dag, kind, judged), "record": said_of_it.get_artifact("record")})
        model >> judged >> proven
        [again, proven] >> said_of_it >> known
    return dag


def _registered(dag: DAG, kind: object, judged: Task) -> dict[str, object]:
    return {
        **{name: dag.get_parameter(name) for name in _GIVEN},
        "kind": kind,
        "prepared": dag.get_artifact("prepared"),
        "package": judged.get_artifact("package"),
        "evaluation": judged.get_artifact("evaluation"),
    }


def _prove() -> Container:
    """The packaged model on the image that will serve it, asked for real."""
    return Container(
        name="prove",
        image=SERVING_IMAGE,
        command=["python", "-m", "perch.serving.proof"],
        args=[
            *("--package", "{{inputs.artifacts.package.path}}", "--requests", "{{inputs.artifacts.requests.path}}"),
            *("--seconds", str(_PROOF_S), "--out", "{{outputs.artifacts.proof.path}}"),
        ],
        inputs=[Artifact(name=name, path=f"/perch/inputs/{name}") for name in ("package", "requests")],
        outputs=[Artifact(name="proof", path="/tmp/proof")],  # noqa: S108  the pod's own
        active_deadline_seconds=600,
        **pod("500m"),
    )


def _parameters(*names: str) -> list[Parameter]:
    return [Parameter(name=name) for name in names]


def _from(name: str, task: str) -> Parameter:
    return Parameter(name=name, value_from=m.ValueFrom(parameter=f"{{{{tasks.{task}.outputs.parameters.{name}}}}}"))
