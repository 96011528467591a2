"""The verbs of `perch policy`."""

from pathlib import Path
from typing import Annotated

import typer

from perch.cli.options import Declaration
from perch.cli.target import Target
from perch.cli.where import targeted

app = typer.Typer(help="Know what a policy does before it is in force.", no_args_is_help=True)


@app.command()
@targeted
def backtest(
    target: Target,
    ledger: Annotated[str, typer.Argument(help="Name of a recorded rollout, or the path of its ledger.")],
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

    tell_backtest(target, ledger, declaration, settings or [])


@app.command()
def explain(
    declaration: Declaration,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the policy to try, such as alpha=0.05."),
    ] = None,
    *,
    rps: Annotated[float, typer.Option(help="Requests a second, all arms together.")] = 100.0,
    replications: Annotated[
        int | None,
        typer.Option(
            help="Rollouts behind each figure; without it up to 400, as many as fit into a quarter of a minute."
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Declaration with a policy to put beside it, or the word default."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say what the declared policy costs at some traffic: false rollbacks, time to promotion, bad responses."""
    from perch.cli.explain import tell_cost

    tell_cost(declaration, settings or [], rps, replications, against, as_json=as_json)
