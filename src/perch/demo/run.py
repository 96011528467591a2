"""The demonstration from end to end: data, models, platform, rollouts, load, report."""

import asyncio
import contextlib
import os
import platform as machine
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import httpx

from perch import load
from perch.adapters.registry.port import ModelRegistry
from perch.demo.declaration import TRAFFIC_RPS, demo_declaration
from perch.demo.models import Trained, train_models
from perch.demo.releases import Releases
from perch.demo.scenarios import SCENARIOS
from perch.demo.traffic import Traffic
from perch.errors import PerchError, UsageError
from perch.local.platform import Platform, platform
from perch.local.processes import free_port
from perch.local.store import open_registry
from perch.settings import ModelService, Spec, to_yaml
from perch.ui.live import LiveView
from perch.ui.record import LoadRecord, ModelRecord, RolloutRecord, RunRecord, StageRecord
from perch.ui.report import write_report
from perch.world.market import Market

_WARM_UP_S = 5.0
"""Traffic before the first release, from which the champion's usual latencies and scores are learnt."""

_NOTE = (
    "Bake and guard are shorter here than the defaults (15 s and 12 s in place of 300 s and 3,600 s), and so are the "
    "shadow stage and the ramp's steps; promotion asks for proof within 1 point in place of 0.5. So the demonstration "
    "ends in minutes."
)


class _Stages:
    """Times the stages and shows them."""

    def __init__(self, view: LiveView) -> None:
        self.done: list[StageRecord] = []
        self.view = view

    @contextlib.contextmanager
    def step(self, name: str, rows: int = 0) -> Iterator[None]:
        self.view.stage(name, "")
        began = time.perf_counter()
        yield
        self.done.append(StageRecord(name, time.perf_counter() - began, rows))


def run_demo(name: str, seed: int) -> None:
    """Run the demonstration and write its report to `runs/<name>`.

    Raises:
        PerchError: a rollout ended otherwise than it should, requests were lost, or the load test failed; the report
            is written all the same.
    """
    folder = Path("runs") / name
    if not name or Path(name).name != name:
        raise UsageError(f"{name!r} cannot be a run's name: it becomes a folder in runs/.")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with LiveView() as view:
        record = asyncio.run(_demo(name, seed, folder, view))
        report = write_report(record, folder)
    faults = _faults(record)
    print(f"Report: {report}")  # noqa: T201  the last line names it
    if faults:
        raise PerchError("The demonstration did not go as it should: " + " ".join(faults))


async def _demo(name: str, seed: int, folder: Path, view: LiveView) -> RunRecord:
    started, began = datetime.now(tz=UTC), time.perf_counter()
    stages = _Stages(view)
    market = Market(seed)
    registry = open_registry(folder)
    declaration = demo_declaration(free_port())
    (folder / "perch.yaml").write_text(to_yaml(declaration), encoding="utf-8")
    trained = train_models(
        market,
        registry,
        declaration.spec.model,
        folder,
        challengers=len(SCENARIOS),
        seed=seed,
        step=stages.step,
        progress=view.stage,
    )
    versions = [trained_model.version.version for trained_model in trained.models[1:]]
    rollouts, tested, notes = await _live(declaration, registry, market, versions, folder=folder, stages=stages)
    return RunRecord(
        name=name,
        started=started.isoformat(timespec="seconds"),
        seconds=time.perf_counter() - began,
        stages=(*stages.done, *trained.stages),
        models=_models(registry, declaration.spec.model, trained),
        rollouts=tuple(rollouts),
        load=tested,
        machine={
            "python": machine.python_version(),
            "system": f"{machine.system()} {machine.machine()}",
            "processors": str(os.cpu_count()),
        },
        notes=(_NOTE, *notes),
    )


async def _live(
    declaration: ModelService,
    registry: ModelRegistry,
    market: Market,
    versions: Sequence[int],
    *,
    folder: Path,
    stages: _Stages,
) -> tuple[list[RolloutRecord], LoadRecord, list[str]]:
    spec = declaration.spec
    async with contextlib.AsyncExitStack() as stack:
        with stages.step("platform"):
            starting = platform(
                declaration, registry, folder / "platform", port=spec.port, allow_faults=True, notify=stages.view.line
            )
            running = await stack.enter_async_context(starting)
        traffic = Traffic(
            market, running.route_url, running.token, rps=TRAFFIC_RPS, slo_latency_ms=spec.slo.latency_p99_ms
        )
        async with traffic.flowing():
            with stages.step("warm-up"):
                await asyncio.sleep(_WARM_UP_S)
            releases = Releases(running, traffic, spec, stages.view)
            rollouts = await releases.run_all(list(zip(SCENARIOS, versions, strict=True)), stages.step)
        with stages.step("load"):
            tested = await asyncio.to_thread(_prove, spec, running, market, folder)
        joined = await _joined_outcomes(running)
        stages.view.line(f"The market sent {traffic.clicks_sent} clicks; {joined} joined their predictions.")
    note = f"The market sent {traffic.clicks_sent} clicks, of which {joined} joined their predictions."
    return rollouts, tested, [note]


def _prove(spec: Spec, running: Platform, market: Market, folder: Path) -> LoadRecord:
    """Load the route as the declaration says, with slates of the market, and compare with the SLO."""
    payloads = folder / "slates.jsonl"
    with payloads.open("wb") as file:
        for request in market.requests(500):
            file.write(request.body() + b"\n")
    result = load.run(
        running.route_url,
        rps=spec.load.rps,
        duration_s=spec.load.duration_s,
        users=spec.load.users,
        slo=spec.slo,
        payloads=payloads,
        out=folder / "load.json",
    )
    return LoadRecord(slo_p99_ms=spec.slo.latency_p99_ms, **asdict(result))


async def _joined_outcomes(running: Platform) -> int:
    """How many outcomes the collector has joined to their predictions."""
    async with httpx.AsyncClient(trust_env=False, headers={"authorization": f"Bearer {running.token}"}) as client:
        summary = (await client.get(f"{running.collector_url}/v1/summary")).raise_for_status().json()
    return sum(tally["outcomes"] for tally in summary["tallies"] if tally["result"] == "joined")


def _models(registry: ModelRegistry, model: str, trained: Trained) -> tuple[ModelRecord, ...]:
    versions = {version.version: version for version in registry.versions(model)}
    return tuple(
        ModelRecord(
            version=one.version.version,
            role=", ".join(sorted(versions[one.version.version].roles)),
            kind=one.version.kind,
            metrics=dict(one.version.metrics),
            gate=one.gate.reason if one.gate else "",
        )
        for one in trained.models
    )


def _faults(record: RunRecord) -> list[str]:
    """What did not go as it should."""
    faults = [
        f"Rollout {rollout.name} ended with {rollout.decision}, not {rollout.expected}: {rollout.reason}"
        for rollout in record.rollouts
        if rollout.decision != rollout.expected
    ]
    lost = sum(rollout.lost_requests for rollout in record.rollouts)
    if lost:
        faults.append(f"{lost} requests were lost.")
    if record.load is None or not record.load.passed:
        faults.append(f"The load test failed: {record.load.sentence if record.load else 'it did not run'}")
    return faults
