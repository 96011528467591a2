"""`perch market`: the simulated market as a client of the running route."""

import asyncio

import numpy as np

from perch.cli.options import console
from perch.cli.target import Target
from perch.demo.traffic import Tally, Traffic
from perch.world.market import Market

_TELL_S = 5.0


def run_market(target: Target, url: str | None, rps: float, seconds: float, seed: int) -> None:
    """Ask the route for rankings, show the winners and click on some, and tell every few seconds what came back.

    Raises:
        PlatformError: nothing runs there.
    """
    limit_ms, (route_url, host) = target.declaration().spec.slo.latency_p99_ms, target.route(url)
    token = target.feedback_token()
    with console.status("simulating the market's past"):
        market = Market(seed)
        market.log()  # the users that the models were trained on
    traffic = Traffic(market, route_url, token, rps=rps, slo_latency_ms=limit_ms, host=host)
    console.print(f"{rps:g} requests a second for {seconds:g} s; Ctrl-C ends it.")
    asyncio.run(_flow(traffic, seconds))
    console.print(
        "No clicks were sent: nobody collects them." if token is None else f"{traffic.clicks_sent} clicks were sent."
    )


async def _flow(traffic: Traffic, seconds: float) -> None:
    async with traffic.flowing():
        left_s = seconds
        while left_s > 0:
            tally = traffic.start_tally()
            await asyncio.sleep(min(_TELL_S, left_s))
            left_s -= _TELL_S
            console.print(_told(tally), highlight=False)


def _told(tally: Tally) -> str:
    told = []
    for version, seen in sorted(tally.versions.items()):
        p99_ms = np.percentile(seen.latency_ms, 99)
        told.append(f"version {version}: {seen.requests} answers, {seen.failed} failed, p99 {p99_ms:.1f} ms")
    return "; ".join([*told, f"{tally.lost} lost"])
