"""The verbs of `perch rollout`."""

from typing import Annotated, Any

import typer

from perch.cli.options import Declaration, Folder, console, declared

Override = Annotated[
    bool, typer.Option("--override", help="Release it even from quarantine, and after too many rollbacks.")
]

app = typer.Typer(help="Begin, watch and steer a rollout on the local platform.", no_args_is_help=True)


@app.command()
def start(
    declaration: Declaration,
    folder: Folder,
    version: Annotated[int | None, typer.Option(help="Version to release, in place of the declared one.")] = None,
    override: Override = False,
) -> None:
    """Begin the rollout of the wanted version."""
    from perch.errors import UsageError
    from perch.local.client import connect
    from perch.settings import to_yaml

    service = declared(declaration)
    wanted = service.spec.version if version is None else version
    if wanted is None:
        raise UsageError(f"No version is wanted. Write it in {declaration} as spec.version, or pass --version.")
    wish = service.model_copy(update={"spec": service.spec.model_copy(update={"version": wanted})})
    name = connect(folder).release(to_yaml(wish), override=override)
    console.print(f"Rollout {name} has begun. Watch it with: perch rollout status --watch")


@app.command()
def retry(declaration: Declaration, folder: Folder, override: Override = False) -> None:
    """Release the version of the last rollout that did not end in promotion once more."""
    from perch.local.client import connect
    from perch.settings import to_yaml

    wish = to_yaml(declared(declaration))
    name, earlier = connect(folder).retry(wish, override=override)
    console.print(f"Rollout {name} has begun, a retry of {earlier}. Watch it with: perch rollout status --watch")


@app.command()
def status(
    folder: Folder,
    watch: Annotated[bool, typer.Option("--watch", help="Tell each change until the rollout ends.")] = False,
) -> None:
    """Say where the service and its rollout stand."""
    import time

    from perch.local.client import connect

    control = connect(folder)
    told = control.status()
    _tell(told)
    while watch and told["rollout"] and told["phase"] != "done":
        time.sleep(1.0)
        now = control.status()
        if (now["weights"], now["phase"]) != (told["weights"], told["phase"]):
            _tell(now)
        told = now


@app.command()
def history(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """List all rollouts, newest first: how each ended, and why."""
    from perch.cli.history import tell_history

    tell_history(folder, as_json=as_json)


@app.command()
def pause(folder: Folder) -> None:
    """Keep the weight where it is; a rollback stays armed."""
    _command(folder, "pause")


@app.command()
def resume(folder: Folder) -> None:
    """Go on after a pause."""
    _command(folder, "resume")


@app.command()
def promote(folder: Folder) -> None:
    """Promote the canary now, without waiting for the proof; the guard watches it."""
    _command(folder, "promote")


@app.command()
def rollback(folder: Folder) -> None:
    """Bring the traffic back to the champion now."""
    _command(folder, "roll_back")


def _command(folder: Folder, command: str) -> None:
    from perch.local.client import connect

    connect(folder).command(command)
    console.print("Said; the next tick acts on it. See: perch rollout status")


def _tell(told: dict[str, Any]) -> None:
    console.print(f"{told['name']} at {told['route']}", highlight=False)
    for arm, version in told["arms"].items():
        share, address = 100 * told["weights"][arm], told["versions"].get(str(version), "not running")
        console.print(f"  {arm:<8} version {version:<4} {share:5.1f} %  {address}", highlight=False)
    if told["rollout"]:
        paused = ", paused" if told["paused"] else ""
        console.print(
            f"{told['rollout']}: {told['outcome'] or told['phase']}{paused}, evidence {told['e_value']:.3g} to 1"
        )
    console.print(told["sentence"], soft_wrap=True)
