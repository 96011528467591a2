"""The ways of one model through training, as DAGs: the baseline's, a candidate's, and that of trees on many machines.

A candidate is fitted twice, by two pods, for a model that nobody can make again cannot be trusted. Trees that grow on
several machines are not: their last digits depend on how the rows were spread, and the record says so.
"""

from typing import Final

from hera.workflows import DAG, Artifact, Container, Parameter, Task
from hera.workflows import models as m

from perch.pipeline.features import BASELINE_KIND, CHALLENGER_KIND
from perch.workflows.shape import remembered
from perch.workflows.step import IMAGE, SERVING_IMAGE, pod
from perch.workflows.steps.evaluate import evaluate
from perch.workflows.steps.features import features
from perch.workflows.steps.fit import fit
from perch.workflows.steps.fit_distributed import fit_distributed
from perch.workflows.steps.ingest import ingest
from perch.workflows.steps.judge import judge
from perch.workflows.steps.register import register
from perch.workflows.steps.repeat import repeat

GIVEN: Final = ("declaration", "model", "reason")
"""Parameters that every lane is given."""

_PROOF_S: Final = 10
_SCHEDULER_PORT: Final = 8786
_WORKER_MEMORY: Final = 2_048
_HEADROOM: Final = 148
"""MiB between the limit at which Dask ends a worker and says why, and that at which the kernel does."""


def log() -> DAG:
    """The click log, as long as it is the same."""
    with DAG(
        name="log",
        inputs=_parameters("declaration", "data-key"),
        outputs=[Artifact(name="log", from_="{{tasks.ingest.outputs.artifacts.log}}")],
        memoize=remembered("data-key"),
    ) as dag:
        ingest(arguments={"declaration": dag.get_parameter("declaration")})
    return dag


def prepared() -> DAG:
    """The prepared log, as long as log and settings are the same."""
    with DAG(
        name="prepared",
        inputs=[*_parameters("declaration", "prepared-key"), Artifact(name="log")],
        outputs=[Artifact(name="prepared", from_="{{tasks.features.outputs.artifacts.prepared}}")],
        memoize=remembered("prepared-key"),
    ) as dag:
        features(arguments={"declaration": dag.get_parameter("declaration"), "log": dag.get_artifact("log")})
    return dag


def baseline() -> DAG:
    """The simple model, which no gate keeps out: there must be something to come home to."""
    with DAG(
        name="baseline",
        inputs=[*_parameters(*GIVEN), Artifact(name="prepared")],
        outputs=[_from("version", "register")],
    ) as dag:
        said, rows = dag.get_parameter("declaration"), dag.get_artifact("prepared")
        model = fit(arguments={"declaration": said, "kind": BASELINE_KIND, "prepared": rows})
        judged = evaluate(arguments={"declaration": said, "prepared": rows, "model": model.get_artifact("model")})
        known = register(arguments=_registered(dag, BASELINE_KIND, judged))
        model >> judged >> known
    return dag


def candidate() -> DAG:
    """A model that asks for traffic."""
    with DAG(
        name="candidate",
        inputs=[*_parameters(*GIVEN, "kind"), Artifact(name="prepared")],
        outputs=[_from("version", "register")],
    ) as dag:
        said, rows, kind = dag.get_parameter("declaration"), dag.get_artifact("prepared"), dag.get_parameter("kind")
        model = fit(arguments={"declaration": said, "kind": kind, "prepared": rows})
        again = repeat(arguments={"declaration": said, "kind": kind, "prepared": rows})
        again >> _judged(dag, kind, model, again.get_parameter("digest"))
    return dag


def distributed() -> DAG:
    """Trees that grow on the rows of several workers, each a pod of its own that ends with the lane."""
    with DAG(
        name="distributed",
        inputs=[*_parameters(*GIVEN, "workers"), Artifact(name="prepared"), Artifact(name="log")],
        outputs=[_from("version", "register")],
    ) as dag:
        said, rows, log = dag.get_parameter("declaration"), dag.get_artifact("prepared"), dag.get_artifact("log")
        scheduler = Task(name="scheduler", template=_scheduler())
        address = f"tcp://{{{{tasks.scheduler.ip}}}}:{_SCHEDULER_PORT}"
        workers = Task(
            name="workers",
            template=_worker(),
            arguments={"address": address, "log": log},
            with_sequence=m.Sequence(count=m.IntOrString(root="{{inputs.parameters.workers}}")),
        )
        model = fit_distributed(
            arguments={
                "declaration": said,
                "address": address,
                "workers": dag.get_parameter("workers"),
                "prepared": rows,
                "log": log,
            }
        )
        scheduler >> workers >> model
        _judged(dag, CHALLENGER_KIND, model, "")
    return dag


def _judged(dag: DAG, kind: Parameter | str, model: Task, repeated: Parameter | str) -> Task:
    """Evaluate a model, prove its latency, ask the gates and register it; gives the task that asks them."""
    said, rows = dag.get_parameter("declaration"), dag.get_artifact("prepared")
    judged = evaluate(arguments={"declaration": said, "prepared": rows, "model": model.get_artifact("model")})
    packaged = {"package": judged.get_artifact("package")}
    proven = Task(name="prove", template=_prove(), arguments={**packaged, "requests": judged.get_artifact("requests")})
    found: Task = judge(
        arguments={
            **packaged,
            "declaration": said,
            "kind": kind,
            "repeated": repeated,
            "prepared": rows,
            "evaluation": judged.get_artifact("evaluation"),
            "proof": proven.get_artifact("proof"),
        }
    )
    known = register(arguments={**_registered(dag, kind, judged), "record": found.get_artifact("record")})
    model >> judged >> proven >> found >> known
    return found


def _registered(dag: DAG, kind: object, judged: Task) -> dict[str, object]:
    return {
        **{name: dag.get_parameter(name) for name in GIVEN},
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


def _scheduler() -> Container:
    """Dask's scheduler. It ends the training when a worker dies, rather than wait for one that does not come."""
    return Container(
        name="scheduler",
        image=IMAGE,
        command=["python", "-m", "distributed.cli.dask_scheduler"],
        args=["--port", str(_SCHEDULER_PORT), "--no-dashboard"],
        env={**_DASK, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"},
        daemon=True,
        readiness_probe=m.Probe(tcp_socket=m.TCPSocketAction(port=m.IntOrString(root=_SCHEDULER_PORT))),
        active_deadline_seconds=_DEADLINE_S,
        **pod("50m", "512Mi"),
    )


def _worker() -> Container:
    """One worker, with the log where the others have it, too."""
    return Container(
        name="worker",
        image=IMAGE,
        command=["python", "-m", "distributed.cli.dask_worker"],
        args=[
            *("{{inputs.parameters.address}}", "--nthreads", "1", "--no-dashboard", "--death-timeout", "120"),
            *("--memory-limit", f"{_WORKER_MEMORY - _HEADROOM}MiB", "--local-directory", "/tmp"),  # noqa: S108
        ],
        env=_DASK,
        inputs=[Parameter(name="address"), Artifact(name="log", path="/perch/inputs/log")],
        daemon=True,
        active_deadline_seconds=_DEADLINE_S,
        **pod("250m", f"{_WORKER_MEMORY}Mi"),
    )


_DASK: Final = {"DASK_TEMPORARY_DIRECTORY": "/tmp"}  # noqa: S108  the pod's own
_DEADLINE_S: Final = 6 * 3_600
