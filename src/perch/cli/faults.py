"""`perch break`: a version is broken on purpose, to see it come home."""

from perch.cli.options import console
from perch.cli.target import Target
from perch.demo.faults import faults
from perch.errors import RolloutError, UsageError


def break_and_tell(target: Target, name: str, version: int | None) -> None:
    """Switch a fault in every process of a version, of the canary without one.

    Raises:
        UsageError: there is no such fault.
        RolloutError: no version is named, and none is being tried.
        PlatformError: the version does not run, or does not let itself be broken.
    """
    known = faults(target.declaration().spec.slo)
    if name not in known:
        raise UsageError(f"There is no fault {name!r}. Known: {', '.join(known)}.")
    version = _canary(target) if version is None else version
    with target.switches(version) as switches:
        for switch in switches:
            switch.set(known[name])
    where = f"version {version}, in {len(switches)} process{'es' if len(switches) > 1 else ''}"
    if known[name]:
        console.print(f"Broken by {name}: {where}. Mend it with: perch break none --version {version}{target.options}")
    else:
        console.print(f"Mended: {where}.")


def _canary(target: Target) -> int:
    canary: int | None = target.status()["arms"].get("canary")
    if canary is None:
        raise RolloutError("No version is being tried, so there is no canary to break. Name a version with --version.")
    return canary
