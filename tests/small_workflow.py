"""A workflow of steps that take no time, to see how workflows run."""

import os
import signal
import time
from pathlib import Path
from typing import Annotated

from hera.workflows import DAG, Output, Parameter, WorkflowTemplate
from hera.workflows import models as m

from perch.errors import DataError
from perch.workflows.shape import remembered
from perch.workflows.step import incoming, outgoing, step

NOTES = Path(os.environ.get("NOTES", "/nowhere"))
"""What the steps write down, to be read by the test."""


def note(line):
    with (NOTES / "lines").open("a") as file:
        file.write(f"{line}\n")


class Words(Output):
    words: Annotated[tuple[str, ...], Parameter(name="words")]
    key: Annotated[str, Parameter(name="key")]


@step()
def split(text: Annotated[str, Parameter(name="text")]) -> Words:
    note("split")
    return Words(words=tuple(text.split()), key=text.replace(" ", "-"))


@step(memoize=remembered("key"))
def keep(
    key: Annotated[str, Parameter(name="key")],
    file: Annotated[Path, outgoing("file")],
) -> None:
    note("keep")
    file.mkdir()
    (file / "content").write_text(key)


@step(synchronization=m.Synchronization(mutexes=[m.Mutex(name="one-{{inputs.parameters.lock}}")]))
def work(
    word: Annotated[str, Parameter(name="word")],
    lock: Annotated[str, Parameter(name="lock")],
    file: Annotated[Path, incoming("file")],
    other: Annotated[Path | None, incoming("other", optional=True)] = None,
) -> Annotated[int, Parameter(name="length")]:
    note(f"begin {word} {lock}")
    assert other is None
    tries = NOTES / f"tries-{word}"
    tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
    if word == "wrong" and not (NOTES / "mended").exists():
        raise DataError("the word is wrong: choose another")
    if word == "killed" and tries.read_text() == "x":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "slow":
        time.sleep(1)
    note(f"end {word} {lock}")
    return len(word) + len((Path(file) / "content").read_text())


@step()
def add(lengths: Annotated[list[int], Parameter(name="lengths")]) -> Annotated[int, Parameter(name="sum")]:
    note("add")
    return sum(lengths)


@step()
def bye(
    name: Annotated[str, Parameter(name="name", value="{{workflow.name}}")],
    status: Annotated[str, Parameter(name="status", value="{{workflow.status}}")],
    failures: Annotated[str, Parameter(name="failures", value="{{workflow.failures}}")],
) -> None:
    note(f"bye {name} {status} {failures}")


def small() -> WorkflowTemplate:
    arguments = [Parameter(name="text", value="a bb"), Parameter(name="lock", value="lock")]
    with WorkflowTemplate(name="perch-small", entrypoint="main", on_exit="bye", arguments=arguments) as workflow:
        bye()
        with DAG(
            name="main",
            inputs=[Parameter(name="text"), Parameter(name="lock")],
            outputs=[Parameter(name="sum", value_from=m.ValueFrom(parameter="{{tasks.add.outputs.parameters.sum}}"))],
        ) as dag:
            words = split(arguments={"text": dag.get_parameter("text")})
            kept = keep(arguments={"key": words.get_parameter("key")})
            done = work(
                arguments={"word": "{{item}}", "lock": dag.get_parameter("lock"), "file": kept.get_artifact("file")},
                with_param=words.get_parameter("words"),
            )
            words >> kept >> done >> add(arguments={"lengths": "{{tasks.work.outputs.parameters.length}}"})
    return workflow
