"""The verbs of `perch events`: what is kept of a service's traffic, and how a person leaves it."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from perch.cli.options import console
from perch.cli.target import Target
from perch.cli.where import targeted

app = typer.Typer(help="Predictions and outcomes that are kept: export them, forget a user.", no_args_is_help=True)

_Moment = Annotated[
    str | None, typer.Option(help="As 2026-11-21 or 2026-11-21T09:30; in UTC, where nothing else is said.")
]


@app.command()
@targeted
def export(
    target: Target,
    to: Annotated[Path, typer.Option(help="Parquet file that is written; one that is there is replaced.")],
    since: _Moment = None,
    until: _Moment = None,
    complete: Annotated[
        bool, typer.Option("--complete", help="Only those whose inputs were kept, from which a model can learn.")
    ] = False,
) -> None:
    """Write predictions with what came of them into a Parquet file, a column for each input that was kept."""
    from perch.adapters.events.parquet import write_parquet

    since_s = 0.0 if since is None else _seconds(since, "--since")
    until_s = time.time() if until is None else _seconds(until, "--until")
    with target.events() as client:
        # Remembered before: a file that nobody knows of would be left out when somebody is forgotten.
        client.note_export(str(to.absolute()), since_s, until_s)
        events = write_parquet(to, client.events(since_s, until_s), only_complete=complete)
    console.print(f"Wrote {events:,} events into {to}.")


@app.command()
@targeted
def forget(target: Target, user: Annotated[str, typer.Argument(help="The user's id, as requests have it.")]) -> None:
    """Delete all that is kept of a user. What was counted stays counted; exports are named, and are yours to delete."""
    from perch.errors import UsageError

    if not user.strip():
        raise UsageError(
            "The user's id is empty, and nobody has that. Write it as requests do: perch events forget USER."
        )
    with target.events() as client:
        gone = client.forget(user)
    console.print(
        f"Deleted {gone.predictions:,} predictions, {gone.inputs:,} of them with inputs, {gone.outcomes:,} outcomes, "
        f"{gone.attributes:,} attributes and {gone.parked:,} parked events."
    )
    for name in gone.exports:
        console.print(f"The user is also in the export {name}: delete it, or export that time again.")
    console.print(
        "Events still under way, copies of the database and models that were trained are not reached by this."
    )


def _seconds(moment: str, option: str) -> float:
    from perch.errors import UsageError

    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError:
        raise UsageError(f"{option} {moment!r} is no time; write it as 2026-11-21 or 2026-11-21T09:30.") from None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
