"""`perch loadtest`: the declared SLO under the declared load."""

from pathlib import Path

from perch import load
from perch.cli.options import console
from perch.errors import LoadError
from perch.local.client import connect
from perch.settings import ModelService
from perch.world.market import Market


def prove(service: ModelService, folder: Path) -> None:
    """Load the running route with slates of the simulated market.

    Raises:
        PlatformError: no platform is running.
        LoadError: the SLO was breached, or nothing was measured.
    """
    spec, control = service.spec, connect(folder)
    payloads = folder / "slates.jsonl"
    with console.status("simulating the market's past"):
        market = Market()
        market.log()  # the users that the models were trained on
        payloads.write_bytes(b"".join(request.body() + b"\n" for request in market.requests(500)))
    with console.status(f"{spec.load.rps:g} requests a second for {spec.load.duration_s:g} s"):
        result = load.run(
            control.record.route_url,
            rps=spec.load.rps,
            duration_s=spec.load.duration_s,
            users=spec.load.users,
            slo=spec.slo,
            payloads=payloads,
            out=folder / "load.json",
        )
    if not result.passed:
        raise LoadError(result.sentence)
    console.print(result.sentence)
