"""A workflow as it happens, for a person."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Column, Table

from perch.cli.options import console
from perch.cli.target import Target

if TYPE_CHECKING:
    from perch.workflows.local.memory import Node, Run

_SIGNS: Final = {
    "Succeeded": "[green]✔[/]",
    "Remembered": "[green]↺[/]",
    "Failed": "[red]✘[/]",
    "Error": "[red]✘[/]",
    "Running": "[yellow]●[/]",
}
_SAID: Final = ("version", "reason", "sentence", "clicks", "rollout")
"""Outputs of steps that a person wants to read."""

_ENDS: Final = ("exit", "onExit")
_ASKS: Final = "asks for traffic"


def follow(target: Target, workflow: str, asked: Mapping[str, str], *, resume: bool) -> None:
    """Run a workflow and show its steps while it runs; raises `PerchError` when one fails."""
    found = target.declaration()
    trains = {"memory": found.spec.training.pod_memory} if workflow != "release" else {}
    given = {"service": found.name, **trains, **asked}
    try:
        with _shown() as show:
            outputs = target.workflows().run(workflow, given, show, resume=resume)
    except KeyboardInterrupt:
        goes_on = "It goes on in the cluster." if target.options else f"Go on: perch workflow run {workflow} --resume"
        console.print(f"No longer watched. {goes_on}", highlight=False, soft_wrap=True)
        raise
    if offered := outputs.get("offered"):
        asks = _ASKS in offered and workflow.startswith("train")
        following = f" Next: perch workflow run release{target.options}" if asks else ""
        console.print(f"{offered}{following}", highlight=False, soft_wrap=True)


@contextmanager
def _shown() -> Iterator[Callable[["Run"], None]]:
    """Shows a run: on a terminal as a table that is kept true, elsewhere by a line for each step that has ended."""
    if console.is_terminal:
        with Live(Spinner("dots", "beginning"), console=console, refresh_per_second=4) as live:
            yield lambda run: live.update(_table(run))
        return
    told = set[str]()

    def tell(run: "Run") -> None:
        for node in run.nodes.values():
            if node.name not in told and node.phase not in {"Pending", "Running"}:
                told.add(node.name)
                line = f"{_SIGNS.get(node.phase, '·')} {escape(node.name)}  {node.seconds:.0f} s  {escape(_said(node))}"
                console.print(line.rstrip(), soft_wrap=True, highlight=False)

    yield tell


def _table(run: "Run") -> Table:
    table = Table(
        "",
        Column("step", no_wrap=True),
        Column("took", justify="right"),
        "",
        title=run.name,
        title_justify="left",
        box=None,
    )
    for node in run.nodes.values():
        took = f"{node.seconds:.0f} s" if node.seconds else ""
        table.add_row(_SIGNS.get(node.phase, "·"), escape(node.name), took, escape(_said(node)))
    return table


def _said(node: "Node") -> str:
    """What a step gave, or why it waits. Why it failed is said once, at the end, and how all ended by the steps."""
    if node.phase in {"Failed", "Error"} or node.name in _ENDS:
        return ""
    given = node.parameters
    told = (f"{name} {given[name]}" if name != "reason" else given[name] for name in _SAID if name in given)
    return node.message or " · ".join(told)
