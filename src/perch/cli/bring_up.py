"""What `perch cluster` does: choose the cluster, ask, go stage by stage, tell."""

import json
from pathlib import Path

import typer

from perch.cli import doctor
from perch.cli.options import console
from perch.errors import PlatformError, UsageError
from perch.install import footprint, stages
from perch.install.checkout import Checkout
from perch.install.commands import Cluster, current_context, server_of
from perch.install.perch_chart import PerchChart

_TIMINGS = Path(".perch") / "cluster-up.json"


def chosen(context: str | None, *, existing: bool, yes: bool) -> Cluster | None:
    """The cluster that was meant; none for kind.

    Raises:
        UsageError: It would be the current context, and nobody would be asked.
        PlatformError: There is no such context.
    """
    if context is None and not existing:
        return None
    if context is None and yes:
        raise UsageError("--yes asks nobody, so --context has to say which cluster is meant.")
    name = context or current_context()
    if not server_of(name):
        raise PlatformError(f"There is no kube context {name!r}. `kubectl config get-contexts` lists them.")
    return Cluster(name)


def up(target: Cluster | None, namespace: str, settings: tuple[str, ...], *, yes: bool) -> None:
    """Bring up what is not there yet, and keep how long it took."""
    checkout = Checkout.find()
    perch = PerchChart(checkout.perch_chart, namespace, settings)
    cluster = target or Cluster(_kind_context(checkout))
    _examine(checkout, target)
    if target is not None:
        _ask(f"Install Perch into namespace {namespace} of {target.context} ({server_of(target.context)})?", yes=yes)
    path = stages.on_kind(checkout, perch) if target is None else stages.on_existing(perch)
    timings = []
    for timing in stages.go(path, cluster, console.print):
        timings.append({"stage": timing.stage, "seconds": round(timing.seconds, 1), "installed": timing.installed})
        console.print(f"  proven after {timing.seconds:.0f} s", style="green")
    _TIMINGS.parent.mkdir(exist_ok=True)
    _TIMINGS.write_text(json.dumps({"context": cluster.context, "stages": timings}, indent=1), encoding="utf-8")
    console.print(f"Perch runs in {cluster.context}. Next: a ModelService, see docs/how-to/run-on-kubernetes.md")


def down(target: Cluster | None, namespace: str, *, yes: bool) -> None:
    """Take away what `up` made."""
    checkout = Checkout.find()
    if target is None:
        name = checkout.kind["name"]
        _ask(f"Delete the kind cluster {name} with all that is in it?", yes=yes)
        console.print("Deleted." if stages.delete_kind(checkout) else f"There is no kind cluster {name}.")
        return
    perch = PerchChart(checkout.perch_chart, namespace)
    if not perch.is_there(target):
        console.print(f"Perch is not in namespace {namespace} of {target.context}. Nothing was removed.")
        return
    where = ", ".join(perch.watched(target)) or "all namespaces"
    _ask(
        f"Remove Perch from {target.context}, with every ModelService in {where}, what serves it, and the volumes with"
        f" all models and ledgers if namespace {namespace} was made for it?",
        yes=yes,
    )
    perch.remove(target, console.print)
    console.print("Perch is removed.")


def measure(context: str | None, namespace: str, window_s: float) -> None:
    """Print what the cluster takes; how long its stages took is told where it was brought up from here."""
    checkout = Checkout.find()
    cluster = Cluster(context or _kind_context(checkout))
    if not server_of(cluster.context):
        raise PlatformError(f"There is no kube context {cluster.context!r}. `kubectl config get-contexts` lists them.")
    found = footprint.measure(cluster, footprint.parts(checkout, namespace), window_s)
    console.print(footprint.table(found, _minutes(cluster)), markup=False, highlight=False)


def _minutes(cluster: Cluster) -> list[tuple[str, float]]:
    if not _TIMINGS.is_file():
        return []
    kept = json.loads(_TIMINGS.read_text(encoding="utf-8"))
    ours = kept["stages"] if kept["context"] == cluster.context else []
    return [(stage["stage"], stage["seconds"] / 60) for stage in ours if stage["installed"]]


def _kind_context(checkout: Checkout) -> str:
    return f"kind-{checkout.kind['name']}"


def _examine(checkout: Checkout, target: Cluster | None) -> None:
    findings = doctor.examined(checkout, target.context if target else None)
    doctor.tell(findings)
    stopping = [finding.subject for finding in findings if finding.stops]
    if stopping:
        raise PlatformError(f"Nothing was written: {', '.join(stopping)} must be mended first, as said above.")


def _ask(question: str, *, yes: bool) -> None:
    if not yes:
        typer.confirm(question, abort=True)
