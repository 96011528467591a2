"""`perch doctor`: what is there, what is not, and the command that mends it."""

import typer

from perch.cli.options import console
from perch.install import look
from perch.install.checkout import Checkout
from perch.install.finding import Finding, Verdict
from perch.install.inside import of_cluster
from perch.install.machine import clients, of_machine

_COLOURS = {Verdict.OK: "green", Verdict.MISSING: "yellow", Verdict.WRONG: "red"}


def examine(context: str | None) -> None:
    """Tell what was found on this machine, or in a cluster; exits with 7 when something needed is wrong."""
    checkout = Checkout.find()
    with console.status("looking"):
        findings = examined(checkout, context)
    tell(findings)
    stopping = [finding.subject for finding in findings if finding.stops]
    if stopping:
        console.print(f"Mend first: {', '.join(stopping)}.")
        raise typer.Exit(7)
    console.print("Nothing stands in the way.")


def examined(checkout: Checkout, context: str | None) -> list[Finding]:
    """What a cluster needs: of this machine to make one, or, with a context, of the one that is there."""
    machine = look.at_machine(checkout)
    if context is None:
        return list(of_machine(machine, checkout.pins))
    mends = {name: release.command(context) for name, release in checkout.releases("existing").items()}
    inside = look.into(context)
    return [*clients(machine, checkout.pins), *of_cluster(inside, checkout.pins, mends)]


def tell(findings: list[Finding]) -> None:
    """One line each, and below it how to mend it."""
    for finding in findings:
        aside = "" if finding.needed or finding.verdict is Verdict.OK else " (nothing waits for it)"
        colour = _COLOURS[finding.verdict]
        console.print(f"[{colour}]{finding.verdict:8}[/] {finding.subject:15}", end="")
        console.print(f"{finding.told}{aside}", markup=False, highlight=False)
        if finding.mend:
            console.print(f"{'':24}mend: {finding.mend}", markup=False, highlight=False)
