"""The platform: everything that serves, splits, counts and decides on one machine, started and stopped together.

Envoy carries the traffic, one process serves each version, the collector takes outcomes, and the rollout loop ticks
once a second in this process. Everything it writes stands in one folder.
"""

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from perch import asgi
from perch.adapters.labels.http import HttpLabels
from perch.adapters.metrics.scrape import ScrapeSource
from perch.adapters.registry.port import ModelRegistry
from perch.adapters.traffic import envoy
from perch.core.inputs import State as DriftState
from perch.core.recalibration import Change
from perch.drift.remembered import drift_file
from perch.drift.watch import DriftWatch
from perch.errors import PerchError
from perch.freshness.remembered import freshness_file
from perch.freshness.watch import Sources, Watch
from perch.local import scraped
from perch.local.fleet import LocalFleet
from perch.local.inspection import LocalInspection
from perch.local.judge import LocalJudge, is_installed
from perch.local.processes import Child, check_port_free, free_port
from perch.local.trainings import LocalTrainings
from perch.rollout.meters import Meters
from perch.rollout.service import Ports, Service
from perch.rollout.standing import standing_file
from perch.settings import ModelService
from perch.settings.schema import Spec
from perch.signals.observe import source_name

TICK_S = 1.0

_READY_TIMEOUT_S = 20.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Platform:
    """What runs, and where it is reached."""

    declaration: ModelService
    service: Service
    fleet: LocalFleet
    route_url: str
    collector_url: str
    token: str
    """Opens control, the fault switches and the collector's predictions and labels."""

    feedback_token: str
    """Opens the route's `/feedback`, and nothing else: for those who show the winners and see the clicks."""

    alerts_token: str
    """Opens the control server for alerts, and for nothing else."""

    judge_token: str
    """Opens the collector for what is to be judged and inspected, and for nothing else."""

    freshness: Watch | None
    """`None`: nobody watches over the age of the model."""

    drift: DriftWatch
    """Watches over what the service is asked about."""

    judge: LocalJudge
    """Runs while a rollout wants to be judged."""

    meters: Meters
    """What Prometheus is told of the service."""

    helpers: tuple[Child, ...]
    """The processes beside the versions' own: the proxy and the collector."""

    def fault_url(self, version: int) -> str:
        """Where the fault switches of a version are set."""
        return f"http://{self.fleet.endpoints()[version]}/faults"


@asynccontextmanager
async def platform(
    declaration: ModelService,
    registry: ModelRegistry,
    folder: Path,
    *,
    port: int,
    allow_faults: bool = False,
    retraining: Callable[[str], Sequence[str]] | None = None,
    notify: Callable[[str], None],
) -> AsyncIterator[Platform]:
    """Start the platform and stop it at the end, whatever ends it.

    Args:
        declaration: the ModelService to run.
        registry: holds its versions.
        folder: where state, logs and the proxy's files go; made when it is missing.
        port: port of the route on the loopback interface.
        allow_faults: let the versions be broken on purpose.
        retraining: the command that trains anew, for a reason; `None`: nobody watches over the age of the model.
        notify: told what happens, a sentence at a time.

    Raises:
        PlatformError: the port is taken, or a process does not come up.
        RolloutError: there is no baseline to serve.
    """
    check_port_free(port, "the route", "spec.port of the declaration")
    spec = declaration.spec
    places = _Places(folder, route_port=port, admin_port=free_port(), collector_port=free_port())
    async with contextlib.AsyncExitStack() as stack:
        helpers = await _start_helpers(stack, declaration, places)
        router = envoy.EnvoyFileRouter(places.envoy)
        fleet = LocalFleet(
            spec.model,
            registry,
            folder,
            slo_latency_ms=spec.slo.latency_p99_ms,
            collector_port=places.collector_port,
            token_file=places.token,
            events=spec.events,
            allow_faults=allow_faults,
        )
        stack.push_async_callback(fleet.close)
        metrics = ScrapeSource(
            lambda: {source_name(version): address for version, address in fleet.endpoints().items()}
        )
        stack.push_async_callback(metrics.close)
        token = places.token.read_text(encoding="utf-8")
        labels = HttpLabels(places.collector_url, token)
        stack.push_async_callback(labels.close)
        store = standing_file(folder / "service.json")
        judge = _judging(stack, places, spec, registry.address)
        ports = Ports(registry, fleet, router, metrics, store, labels, has_judge=is_installed())
        service = Service(declaration, ports, folder, notify=notify)
        await service.open()
        stack.push_async_callback(service.close)
        freshness: Watch | None = None
        if retraining is not None:
            trainings = LocalTrainings(folder, retraining)
            stack.push_async_callback(trainings.close)
            remembered = freshness_file(folder / "freshness.json")
            sources = Sources(service, trainings, registry, metrics, remembered, labels)
            freshness = Watch(declaration, sources, time.time, notify)
            await freshness.open()
            stack.push_async_callback(_cancel, asyncio.create_task(freshness.keep()))
        meters = Meters(lambda: True)
        meters.begin(scraped.NAMESPACE, declaration.name, spec.slo)
        tell = partial(meters.tell_drift, scraped.NAMESPACE, declaration.name)
        drift = await _watching_inputs(stack, service, metrics, folder, freshness=freshness, tell=tell, notify=notify)
        running = Platform(
            declaration=declaration,
            service=service,
            fleet=fleet,
            route_url=f"http://127.0.0.1:{port}",
            collector_url=places.collector_url,
            token=token,
            feedback_token=places.feedback_token.read_text(encoding="utf-8"),
            alerts_token=places.alerts_token.read_text(encoding="utf-8"),
            judge_token=places.judge_token.read_text(encoding="utf-8"),
            freshness=freshness,
            drift=drift,
            judge=judge,
            meters=meters,
            helpers=helpers,
        )
        loop = asyncio.create_task(_tick_forever(running, notify))
        stack.push_async_callback(_cancel, loop)
        yield running


def _judging(stack: contextlib.AsyncExitStack, places: "_Places", spec: Spec, registry: str | None) -> LocalJudge:
    """The judge of rollouts; and the hourly inspection, where there is something to inspect."""
    if registry is not None and spec.events.features_share > 0:
        inspection = LocalInspection(
            places.collector_url,
            places.judge_token,
            places.logs / "inspect.log",
            model=spec.model,
            registry=registry,
        )
        stack.push_async_callback(_cancel, asyncio.create_task(inspection.keep()))
    judge = LocalJudge(
        places.collector_url, places.judge_token, places.logs / "judge.log", model=spec.model, registry=registry
    )
    stack.push_async_callback(judge.stop)
    return judge


async def _watching_inputs(
    stack: contextlib.AsyncExitStack,
    service: Service,
    metrics: ScrapeSource,
    folder: Path,
    *,
    freshness: Watch | None,
    tell: Callable[[DriftState], None],
    notify: Callable[[str], None],
) -> DriftWatch:
    """The watch over what the service is asked, which has begun."""
    drift = DriftWatch(
        service,
        metrics,
        drift_file(folder / "drift.json"),
        clock=time.time,
        notify=notify,
        hear=None if freshness is None else freshness.hear,
        outcomes=partial(_change, freshness),
        tell=tell,
    )
    await drift.open()
    stack.push_async_callback(_cancel, asyncio.create_task(drift.keep()))
    return drift


def _change(freshness: Watch | None) -> Change | None:
    """What has changed in what follows from the scores, as far as the watch over the model's age knows."""
    return None if freshness is None else freshness.change


class _Places:
    """Where the platform's parts write and listen."""

    def __init__(self, folder: Path, *, route_port: int, admin_port: int, collector_port: int) -> None:
        self.route_port, self.admin_port, self.collector_port = route_port, admin_port, collector_port
        self.logs, self.envoy, self.store = folder / "log", folder / "envoy", folder / "events.sqlite"
        self.token, self.feedback_token = asgi.keep_token(folder / "token"), asgi.keep_token(folder / "feedback-token")
        self.alerts_token = asgi.keep_token(folder / "alerts-token")
        self.judge_token = asgi.keep_token(folder / "judge-token")
        self.attributes_token = asgi.keep_token(folder / "attributes-token")
        self.collector_url = f"http://127.0.0.1:{collector_port}"


async def _start_helpers(
    stack: contextlib.AsyncExitStack, declaration: ModelService, places: _Places
) -> tuple[Child, Child]:
    """Start the collector and Envoy, wait until both answer, and have `stack` stop them."""
    command = _collector_command(places, declaration.spec)
    collector = Child("The outcome collector", command, places.logs / "collector.log")
    stack.push_async_callback(collector.stop)
    envoy.bootstrap(
        places.envoy,
        service=declaration.name,
        route_port=places.route_port,
        admin_port=places.admin_port,
        feedback=f"127.0.0.1:{places.collector_port}",
    )
    proxy = Child("Envoy", envoy.command(places.envoy), places.logs / "envoy.log")
    stack.push_async_callback(proxy.stop)
    async with httpx.AsyncClient(timeout=1.0, trust_env=False) as client:
        for child, page in ((proxy, f"{places.admin_port}/ready"), (collector, f"{places.collector_port}/healthz")):
            await child.wait_ready(partial(_answers, client, f"http://127.0.0.1:{page}"), timeout_s=_READY_TIMEOUT_S)
    return collector, proxy


def _collector_command(places: _Places, spec: Spec) -> list[str]:
    return [
        *(sys.executable, "-m", "perch.collector", "--port", str(places.collector_port)),
        *("--store", str(places.store), "--attribution-window-s", str(spec.attribution_window_s)),
        *("--retention-days", str(spec.events.retention_days)),
        *("--token-file", str(places.token), "--feedback-token-file", str(places.feedback_token)),
        *("--judge-token-file", str(places.judge_token)),
        *("--control-token-file", str(places.token), "--attributes-token-file", str(places.attributes_token)),
    ]


async def _tick_forever(running: Platform, notify: Callable[[str], None]) -> None:
    """Tick on the second; a tick that takes longer delays the next one and is not made up for."""
    due = time.monotonic()
    while True:
        try:
            revived = [child.revive() for child in running.helpers] + await running.fleet.revive()
            revived.append(await running.judge.follow(is_wanted=running.service.is_judged))
            for sentence in filter(None, revived):
                notify(sentence)
            await _tick(running, time.time())
        except (PerchError, OSError) as error:
            notify(f"A tick failed, and the next one tries again; meanwhile no canary gets more traffic. {error}")
        except Exception as error:  # noqa: BLE001  the next tick must come whatever happens in this one
            notify(f"A tick failed, which is a fault of Perch's: {error!r}. No canary gets more traffic meanwhile.")
            _log.exception("A tick failed.")
        due = max(due + TICK_S, time.monotonic())
        await asyncio.sleep(due - time.monotonic())


async def _tick(running: Platform, now_s: float) -> None:
    name, training = running.declaration.name, running.declaration.spec.training
    with running.meters.tick():
        await running.service.tick(now_s)
    scraped.tell(running.meters, name, running.service, now_s)
    scraped.tell_age(running.meters, name, running.freshness, training.freshness, now_s)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _answers(client: httpx.AsyncClient, url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return (await client.get(url)).status_code == httpx.codes.OK
    return False
