"""The verbs of `perch workflow`."""

from enum import StrEnum
from typing import Annotated

import typer

from perch.cli.options import console
from perch.cli.target import Target
from perch.cli.where import targeted

app = typer.Typer(help="Train, release and retrain step by step: here, or by Argo on a cluster.", no_args_is_help=True)


class Workflow(StrEnum):
    """What can be run."""

    TRAIN = "train"
    TRAIN_DISTRIBUTED = "train-distributed"
    RELEASE = "release"
    RETRAIN = "retrain"


class Often(StrEnum):
    """How often a service is retrained."""

    HOUR = "hour"
    DAY = "day"
    NEVER = "never"


@app.command()
@targeted
def run(
    target: Target,
    workflow: Annotated[
        Workflow,
        typer.Argument(
            help="train; train-distributed: trees, on many pods; release: what was trained; retrain: train and release."
        ),
    ],
    version: Annotated[int | None, typer.Option(help="For release: the version; without it the challenger.")] = None,
    reason: Annotated[str, typer.Option(help="Why, as it is written into the version.")] = "a person asked for it",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the last one, where it stopped.")] = False,
) -> None:
    """Run a workflow to its end, and watch its steps."""
    from perch.cli.workflows import follow
    from perch.errors import UsageError

    if version is not None and (workflow is not Workflow.RELEASE or resume):
        raise UsageError("--version names what `perch workflow run release` releases; nothing else takes it.")
    asked = {"reason": reason} | ({} if version is None else {"version": str(version)})
    follow(target, workflow.value, asked, resume=resume)


@app.command()
@targeted
def schedule(
    target: Target,
    often: Annotated[Often, typer.Argument(help="How often, beside what drift, decay and age ask for.")],
) -> None:
    """Retrain every hour, every day, or no longer, by a CronWorkflow of the cluster."""
    every = {Often.HOUR: "hour", Often.DAY: "day", Often.NEVER: None}[often]
    found = target.declaration()
    memory = found.spec.training.pod_memory
    console.print(target.workflows().repeat(found.name, every, memory))  # type: ignore[arg-type]
