"""`perch loadtest`: the declared SLO under the declared load."""

from perch import load
from perch.cli.options import console
from perch.cli.target import Target
from perch.errors import LoadError
from perch.world.market import Market


def prove(target: Target, url: str | None) -> None:
    """Load the running route with slates of the simulated market.

    Raises:
        PlatformError: nothing runs there.
        LoadError: the SLO was breached, or nothing was measured.
    """
    spec, (route_url, host) = target.declaration().spec, target.route(url)
    target.folder.mkdir(parents=True, exist_ok=True)
    payloads = target.folder / "slates.jsonl"
    with console.status("simulating the market's past"):
        market = Market()
        market.log()  # the users that the models were trained on
        payloads.write_bytes(b"".join(request.body() + b"\n" for request in market.requests(500)))
    with console.status(f"{spec.load.rps:g} requests a second for {spec.load.duration_s:g} s"):
        result = load.run(
            route_url,
            rps=spec.load.rps,
            duration_s=spec.load.duration_s,
            users=spec.load.users,
            slo=spec.slo,
            payloads=payloads,
            out=target.folder / "load.json",
            host=host,
        )
    if not result.passed:
        raise LoadError(result.sentence)
    console.print(result.sentence)
