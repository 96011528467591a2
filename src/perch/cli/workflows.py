"""A workflow as it happens, for a person."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from rich.live import Live
from rich.table import Column, Table

from perch.cli.options import console
from perch.cli.target import Target

if TYPE_CHECKING:
    from perch.workflows.local.memory import Run

_SIGNS: Final = {
    "Succeeded": "[green]✔[/]",
    "Remembered": "[green]↺[/]",
    "Failed": "[red]✘[/]",
    "Error": "[red]✘[/]",
    "Running": "[yellow]●[/]",
}
_SAID: Final = ("version", "reason", "sentence", "clicks", "rollout")
"""Outputs of steps that a person wants to read."""


def follow(target: Target, workflow: str, asked: Mapping[str, str], *, resume: bool) -> None:
    """Run a workflow and show its steps while it runs; raises `PerchError` when one fails."""
    found = target.declaration()
    trains = {"memory": found.spec.training.pod_memory} if workflow != "release" else {}
    with console.status("beginning") as waiting, Live(console=console, auto_refresh=False) as live:
        waiting.stop()

        def show(run: "Run") -> None:
            live.update(_table(run), refresh=True)

        outputs = target.workflows().run(workflow, {"service": found.name, **trains, **asked}, show, resume=resume)
    version = outputs.get("version")
    if workflow.startswith("train") and version:
        console.print(f"Version {version} asks for traffic. Next: perch workflow run release{target.options}")


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
        table.add_row(_SIGNS.get(node.phase, "·"), node.name, took, node.message or _said(node.parameters))
    return table


def _said(outputs: Mapping[str, str]) -> str:
    return " · ".join(
        f"{name} {outputs[name]}" if name != "reason" else outputs[name] for name in _SAID if name in outputs
    )
