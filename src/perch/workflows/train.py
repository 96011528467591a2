"""`perch-train`: ingest → validate → features → the baseline, then all candidates beside each other → offer.

What fails a gate is registered with the reason; only when no candidate passes all of its gates does the workflow fail.
`perch-train-distributed` grows trees on several machines in place of the candidates.
"""

from dataclasses import dataclass
from typing import Any, Final

from hera.workflows import DAG, Parameter, Task, WorkflowTemplate
from hera.workflows import models as m

from perch.settings.schema import POD_MEMORY
from perch.workflows.lanes import baseline, candidate, distributed, log, prepared
from perch.workflows.shape import template
from perch.workflows.steps.declare import declare
from perch.workflows.steps.offer import offer
from perch.workflows.steps.validate import validate

NAME: Final = "perch-train"
DISTRIBUTED: Final = "perch-train-distributed"
ASKED: Final = {"service": "ads", "reason": "a person asked for it", "memory": POD_MEMORY}
"""What may be asked of a training; `memory` is what the pods may take that hold rows of the log."""


def train() -> WorkflowTemplate:
    """The workflow that trains, judges, registers and offers."""
    with template(NAME, ASKED) as workflow:
        lanes, others = _first_lanes(), candidate()
        with _dag("train", "service", "reason") as dag:
            begun = _begun(dag, lanes)
            lane = _called(
                others,
                name="candidates",
                arguments={**begun.given, "kind": "{{item}}"},
                with_param=begun.asked.get_parameter("candidates"),
            )
            _offered(begun, lane, "{{tasks.candidates.outputs.parameters.version}}")
    return workflow


def train_distributed() -> WorkflowTemplate:
    """The same for trees whose rows no single machine holds; `workers` pods hold them together."""
    with template(DISTRIBUTED, {**ASKED, "workers": "2"}) as workflow:
        lanes, trees = _first_lanes(), distributed()
        with _dag("train-distributed", "service", "reason", "workers") as dag:
            begun = _begun(dag, lanes)
            more = {"workers": dag.get_parameter("workers"), "log": begun.log.get_artifact("log")}
            lane = _called(trees, name="trees", arguments=begun.given | more)
            _offered(begun, lane, "[{{tasks.trees.outputs.parameters.version}}]")
    return workflow


def _dag(name: str, *parameters: str) -> DAG:
    return DAG(
        name=name,
        inputs=[Parameter(name=parameter) for parameter in parameters],
        outputs=[
            Parameter(name=name, value_from=m.ValueFrom(parameter=f"{{{{tasks.offer.outputs.parameters.{name}}}}}"))
            for name in ("version", "offered")
        ],
    )


@dataclass(frozen=True)
class _Begun:
    """Where all trainings stand when their baseline is registered."""

    asked: Task
    log: Task
    given: dict[str, object]
    """What further lanes are given."""

    last: Task


def _first_lanes() -> dict[str, DAG]:
    """What all trainings begin with; made before the DAG that calls them."""
    return {"log": log(), "prepared": prepared(), "baseline": baseline()}


def _begun(dag: DAG, lanes: dict[str, DAG]) -> _Begun:
    """From the wish to a registered baseline."""
    asked = declare(arguments={"service": dag.get_parameter("service")})
    said = asked.get_parameter("declaration")
    data = _called(
        lanes["log"],
        name="log",
        arguments={"declaration": said, "data-key": asked.get_parameter("data-key")},
    )
    checked = validate(arguments={"declaration": said, "log": data.get_artifact("log")})
    rows = _called(
        lanes["prepared"],
        name="prepared",
        arguments={
            "declaration": said,
            "prepared-key": asked.get_parameter("prepared-key"),
            "log": data.get_artifact("log"),
        },
    )
    given = {
        "declaration": said,
        "model": asked.get_parameter("model"),
        "reason": dag.get_parameter("reason"),
        "prepared": rows.get_artifact("prepared"),
    }
    first = _called(lanes["baseline"], name="baseline", arguments=given)
    asked >> data >> checked >> rows >> first
    return _Begun(asked, data, given, first)


def _offered(begun: _Begun, lane: Task, versions: str) -> None:
    """Let the best of the versions that a lane registered ask for traffic."""
    said = begun.asked.get_parameter("declaration")
    begun.last >> lane >> offer(arguments={"declaration": said, "versions": versions})


def _called(lane: DAG, **how: Any) -> Task:  # noqa: ANN401  Hera's own
    """A lane, called in a DAG."""
    task = lane(**how)
    assert isinstance(task, Task)
    return task
