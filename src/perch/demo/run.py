"""The demonstration from end to end: data, models, platform, rollouts, load, report."""

import asyncio
import contextlib
import os
import platform as machine
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx

from perch import load
from perch.adapters.registry.port import ModelRegistry
from perch.demo.declaration import TRAFFIC_RPS, demo_declaration
from perch.demo.inspection import inspect_broken
from perch.demo.models import Trained, train_models
from perch.demo.releases import Releases
from perch.demo.scenarios import SCENARIOS
from perch.demo.traffic import Traffic
from perch.errors import PerchError, PlatformError, UsageError
from perch.local.platform import Platform, platform
from perch.local.processes import free_port
from perch.local.store import open_registry
from perch.settings import ModelService, Spec, to_yaml
from perch.ui.live import LiveView
from perch.ui.record import LoadRecord, ModelRecord, RolloutRecord, RunRecord, StageRecord
from perch.ui.report import write_report
from perch.world.market import Market

_DECLARATION = "perch.yaml"
_WARM_UP_S = 5.0
"""Traffic before the first release, from which the champion's usual latencies and scores are learnt."""

_NOTE = (
    "Bake and guard are shorter here than the defaults (15 s and 12 s in place of 120 s and 3,600 s), and so are the "
    "shadow stage and the ramp's steps; promotion asks for proof within 1 point in place of 0.5. So the demonstration "
    "ends in minutes."
)


@dataclass(slots=True)
class _Run:
    """What there is to report so far: also when the run breaks off."""

    name: str
    folder: Path
    view: LiveView
    started: datetime = field(default_factory=lambda: datetime.now(tz=UTC))
    began: float = field(default_factory=time.perf_counter)
    stages: list[StageRecord] = field(default_factory=list)
    steps: list[StageRecord] = field(default_factory=list)
    """The pipeline's own, within its stage."""

    models: tuple[ModelRecord, ...] = ()
    rollouts: list[RolloutRecord] = field(default_factory=list)
    load: LoadRecord | None = None
    notes: list[str] = field(default_factory=lambda: [_NOTE])
    traffic: Traffic | None = None

    @contextlib.contextmanager
    def step(self, name: str, rows: int = 0) -> Iterator[None]:
        """Time a stage and show it."""
        self.view.stage(name, "")
        began = time.perf_counter()
        yield
        self.stages.append(StageRecord(name, time.perf_counter() - began, rows))

    def tell(self, *sentences: str) -> None:
        """Say something, and note it in the report."""
        for sentence in sentences:
            self.notes.append(sentence)
            self.view.line(sentence)

    def record(self) -> RunRecord:
        """The record as it stands."""
        return RunRecord(
            name=self.name,
            started=self.started.isoformat(timespec="seconds"),
            seconds=time.perf_counter() - self.began,
            stages=(*self.stages, *self.steps),
            models=self.models,
            rollouts=tuple(self.rollouts),
            load=self.load,
            requests=self.traffic.sent if self.traffic else 0,
            lost_requests=self.traffic.lost if self.traffic else 0,
            machine={
                "python": machine.python_version(),
                "system": f"{machine.system()} {machine.machine()}",
                "processors": str(os.cpu_count()),
            },
            notes=tuple(self.notes),
        )


def run_demo(name: str, seed: int) -> None:
    """Run the demonstration and write its report to `runs/<name>`.

    Raises:
        UsageError: the name cannot be a run's, or its folder holds something else.
        PerchError: a rollout ended otherwise than it should, requests were lost, or the load test failed; the report
            is written all the same.
    """
    with LiveView() as view:
        run = _Run(name, _fresh_folder(name), view)
        try:
            _demo(run, seed)
        finally:
            report = write_report(run.record(), run.folder)
    faults = _faults(run.record())
    right = sum(rollout.as_expected for rollout in run.rollouts)
    print(f"{right} of {len(SCENARIOS)} rollouts ended as they should.")  # noqa: T201
    print(f"Report: {report}")  # noqa: T201  the last line names it
    if faults:
        raise PerchError(f"The demonstration did not go as it should. {' '.join(faults)} The report is {report}.")


def _fresh_folder(name: str) -> Path:
    """The run's folder, emptied of an earlier run of that name and of nothing else."""
    folder = Path("runs") / name
    if not re.fullmatch(r"[A-Za-z0-9][-\w.]*", name):
        raise UsageError(f"{name!r} cannot be a run's name: take letters, digits, '-', '_' and '.'.")
    if folder.exists():
        if not (folder / _DECLARATION).exists():
            raise UsageError(f"{folder} is there already and holds no run. Move it away, or take another --name.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder


def _demo(run: _Run, seed: int) -> None:
    market = Market(seed)
    declaration = demo_declaration(free_port())
    model = declaration.spec.model
    (run.folder / _DECLARATION).write_text(to_yaml(declaration), encoding="utf-8")
    registry = open_registry(run.folder)
    trained = train_models(
        market,
        registry,
        model,
        run.folder,
        challengers=len(SCENARIOS),
        seed=seed,
        step=run.step,
        progress=run.view.stage,
    )
    run.steps.extend(trained.stages)
    run.models = _models(registry, model, trained)
    versions = [challenger.version.version for challenger in trained.models[1:]]
    asyncio.run(_live(run, declaration, registry, market, versions))  # only now: a loop would hold back Ctrl-C
    run.models = _models(registry, model, trained)


async def _live(
    run: _Run, declaration: ModelService, registry: ModelRegistry, market: Market, versions: list[int]
) -> None:
    spec = declaration.spec
    async with contextlib.AsyncExitStack() as stack:
        with run.step("platform"):
            starting = platform(
                declaration, registry, run.folder / "platform", port=spec.port, allow_faults=True, notify=run.view.line
            )
            running = await stack.enter_async_context(starting)
        run.traffic = traffic = Traffic(
            market, running.route_url, running.feedback_token, rps=TRAFFIC_RPS, slo_latency_ms=spec.slo.latency_p99_ms
        )
        async with traffic.flowing():
            with run.step("warm-up"):
                await asyncio.sleep(_WARM_UP_S)
            releases = Releases(running, traffic, spec, run.view)
            async for rollout in releases.run_all(list(zip(SCENARIOS, versions, strict=True)), run.step):
                run.rollouts.append(rollout)
            with run.step("inspection"):
                run.tell(*await inspect_broken(running, run.folder, spec.model))
        with run.step("load"):
            run.load = await asyncio.to_thread(_prove, spec, running, market, run.folder)
        joined = await _joined_outcomes(running)
        run.tell(f"The market sent {traffic.clicks_sent} clicks; {joined} joined their predictions.")


def _prove(spec: Spec, running: Platform, market: Market, folder: Path) -> LoadRecord:
    """Load the route as the declaration says, with slates of the market, and compare with the SLO."""
    payloads = folder / "slates.jsonl"
    payloads.write_bytes(b"".join(request.body() + b"\n" for request in market.requests(500)))
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
    """How many outcomes the collector has joined to their predictions; raises `PlatformError` when it is gone."""
    async with httpx.AsyncClient(trust_env=False, headers={"authorization": f"Bearer {running.token}"}) as client:
        try:
            answer = await client.get(f"{running.collector_url}/v1/summary")
            summary = answer.raise_for_status().json()
        except httpx.HTTPError as error:
            raise PlatformError(f"The collector does not say what it joined: {error}. See its log.") from error
    return sum(tally["outcomes"] for tally in summary["tallies"] if tally["result"] == "joined")


def _models(registry: ModelRegistry, model: str, trained: Trained) -> tuple[ModelRecord, ...]:
    versions = {version.version: version for version in registry.versions(model)}
    return tuple(
        ModelRecord(
            version=one.version.version,
            role=", ".join(sorted(versions[one.version.version].roles)),
            kind=one.version.kind,
            metrics=dict(one.version.metrics),
            gate=one.record.reason if one.record else "",
        )
        for one in trained.models
    )


def _faults(record: RunRecord) -> list[str]:
    """What did not go as it should."""
    faults = [
        f"Rollout {rollout.name} ended with {rollout.decision}, not {rollout.expected}: {rollout.reason}"
        for rollout in record.rollouts
        if not rollout.as_expected
    ]
    if record.lost_requests:
        faults.append(f"{record.lost_requests} of {record.requests} requests were lost.")
    if record.load is None or not record.load.passed:
        faults.append(f"The load test failed: {record.load.sentence if record.load else 'it did not run.'}")
    return faults
