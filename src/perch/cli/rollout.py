"""The verbs of `perch rollout`."""

from typing import Annotated, Any

import typer

from perch.cli.options import Declaration, console, declared
from perch.cli.target import Target
from perch.cli.where import targeted
from perch.core.types import Command

Override = Annotated[
    bool, typer.Option("--override", help="Release it even from quarantine, and after too many rollbacks.")
]
Watch = Annotated[bool, typer.Option("--watch", help="Tell each change until the rollout ends.")]

app = typer.Typer(help="Begin, watch and steer a rollout.", no_args_is_help=True)


@app.command()
@targeted
def start(
    target: Target,
    declaration: Declaration,
    version: Annotated[int | None, typer.Option(help="Version to release, in place of the declared one.")] = None,
    override: Override = False,
) -> None:
    """Begin the rollout of the wanted version."""
    from perch.errors import UsageError

    service = declared(declaration)
    wanted = service.spec.version if version is None else version
    if wanted is None:
        raise UsageError(f"No version is wanted. Write it in {declaration} as spec.version, or pass --version.")
    wish = service.model_copy(update={"spec": service.spec.model_copy(update={"version": wanted})})
    if others := target.differences(wish):
        console.print(
            f"{declaration} is not what is in force: {', '.join(others)} differ, and stay as they are. To change them: "
            f"{target.bring_up}",
        )
    name = target.release(wish, override=override)
    console.print(f"Rollout {name} has begun. {_watch_it(target)}")


@app.command()
@targeted
def retry(target: Target, declaration: Declaration, override: Override = False) -> None:
    """Release the version of the last rollout that did not end in promotion once more."""
    name, earlier = target.retry(declared(declaration), override=override)
    console.print(f"Rollout {name} has begun, a retry of {earlier}. {_watch_it(target)}")


@app.command()
@targeted
def status(target: Target, watch: Watch = False) -> None:
    """Say where the service and its rollout stand."""
    tell_status(target, watch=watch)


@app.command()
@targeted
def history(
    target: Target,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """List all rollouts, newest first: how each ended, and why."""
    from perch.cli.history import tell_history

    tell_history(target, as_json=as_json)


@app.command()
@targeted
def pause(target: Target) -> None:
    """Keep the weight where it is; a rollback stays armed."""
    _command(target, Command.PAUSE)


@app.command()
@targeted
def resume(target: Target) -> None:
    """Go on after a pause."""
    _command(target, Command.RESUME)


@app.command()
@targeted
def promote(target: Target) -> None:
    """Promote the canary now, without waiting for the proof; the guard watches it."""
    _command(target, Command.PROMOTE)


@app.command()
@targeted
def rollback(target: Target) -> None:
    """Bring the traffic back to the champion now."""
    _command(target, Command.ROLL_BACK)


def tell_status(target: Target, *, watch: bool) -> None:
    """Print where the service stands, and each change of it while a rollout is watched."""
    import time

    from perch.cli.drift import drifting

    told = target.status()
    _tell(told)
    for sentence in drifting(target):
        console.print(sentence, highlight=False, markup=False)
    while watch and told["rollout"] and told["phase"] != "done":
        time.sleep(1.0)
        now = target.status()
        if (now["weights"], now["phase"]) != (told["weights"], told["phase"]):
            _tell(now)
        told = now


def _command(target: Target, command: Command) -> None:
    target.command(command)
    asked = command.replace("_", " ")
    console.print(f"Asked to {asked}; the next tick acts on it. See: perch rollout status{target.options}")


def _watch_it(target: Target) -> str:
    return f"Watch it with: perch rollout status --watch{target.options}"


def _tell(told: dict[str, Any]) -> None:
    console.print(f"{told['name']} at {told['route']}", highlight=False)
    for arm, version in told["arms"].items():
        share, address = 100 * told["weights"][arm], told["versions"].get(str(version), "not running")
        console.print(f"  {arm:<8} version {version:<4} {share:5.1f} %  {address}", highlight=False)
    if collector := told.get("collector"):
        console.print(f"  collector  {collector}", highlight=False)
    if told["rollout"]:
        paused = ", paused" if told["paused"] else ""
        console.print(
            f"{told['rollout']}: {told['outcome'] or told['phase']}{paused}, evidence {told['e_value']:.3g} to 1"
        )
    console.print(told["sentence"])
    if refusal := told.get("refusal"):
        console.print(f"Refused: {refusal}")
