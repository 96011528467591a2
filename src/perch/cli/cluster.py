"""`perch cluster`: make a cluster with Perch in it, or bring Perch into one that is there; and take it away again."""

from typing import Annotated

import typer

app = typer.Typer(
    help="Make a cluster with Perch in it, or bring Perch into one; and take it away.", no_args_is_help=True
)

Context = Annotated[
    str | None,
    typer.Option(help="Kube context of a cluster that is there. Without it, a kind cluster on this machine."),
]
Existing = Annotated[
    bool,
    typer.Option("--existing", help="The cluster of the current kube context, after asking; --context names another."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Namespace of Perch itself.")]


@app.command()
def up(
    context: Context = None,
    existing: Existing = False,
    namespace: Namespace = "perch",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A value of Perch's chart, as helm takes it; may be repeated.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Bring everything up, stage by stage; what is there already is left alone."""
    from perch.cli import bring_up

    target = bring_up.chosen(context, existing=existing, yes=yes)
    bring_up.up(target, namespace, tuple(settings or ()), yes=yes)


@app.command()
def down(context: Context = None, existing: Existing = False, namespace: Namespace = "perch", yes: Yes = False) -> None:
    """Delete the kind cluster; from any other cluster take only Perch, with its services and what they made."""
    from perch.cli import bring_up

    target = bring_up.chosen(context, existing=existing, yes=yes)
    bring_up.down(target, namespace, yes=yes)


@app.command()
def footprint(
    context: Context = None,
    namespace: Namespace = "perch",
    seconds: Annotated[float, typer.Option(help="Window over which processors are measured.", min=1.0)] = 60.0,
) -> None:
    """Measure what a cluster with Perch in it takes, as a Markdown table."""
    from perch.cli import bring_up

    bring_up.measure(context, namespace, seconds)
