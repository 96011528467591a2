"""The verbs of `perch policy`."""

from pathlib import Path
from typing import Annotated

import typer

from perch.cli.options import Folder

app = typer.Typer(help="Know what a policy does before it is in force.", no_args_is_help=True)


@app.command()
def backtest(
    ledger: Annotated[str, typer.Argument(help="Name of a recorded rollout, or the path of its ledger.")],
    folder: Folder,
    declaration: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="Declaration with the policy to try; without it the recorded one."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the policy to try, such as alpha=0.05."),
    ] = None,
) -> None:
    """Decide a recorded rollout again, tick by tick: under its own policy as a check, or under another one."""
    from perch.cli.backtest import tell_backtest

    tell_backtest(folder, ledger, declaration, settings or [])
