"""A service on twins: a market in memory sends requests through the memory router and counts what came back."""

import asyncio
import hashlib
import json
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from core_market import GRID, SLO, Version
from perch.adapters.fleet.memory import MemoryFleet
from perch.adapters.labels.memory import MemoryLabels
from perch.adapters.metrics.memory import MemorySource
from perch.adapters.registry.memory import MemoryRegistry
from perch.adapters.registry.port import ModelRegistry, Role
from perch.adapters.traffic.memory import MemoryRouter
from perch.core.policy import Policy
from perch.core.types import Arm, Counts
from perch.rollout.service import Ports, Service
from perch.rollout.standing import standing_file
from perch.settings import ModelService, Spec
from perch.settings.schema import Events
from perch.workload.features import FeatureColumns, FeatureSettings
from perch.workload.package import Manifest
from perch.workload.schema import CLICK_LOG


def register(registry: ModelRegistry, folder: Path, number: int, **metrics: float) -> None:
    """Register a package whose files are there and checked, but hold no model; `metrics` are its evaluation's."""
    package = folder / f"package-{number}"
    package.mkdir()
    contents = {"features.npz": b"table", "model.skops": f"model {number}".encode()}
    for name, content in contents.items():
        (package / name).write_bytes(content)
    manifest = Manifest(
        format=1,
        kind="logistic",
        schema=CLICK_LOG,
        keep_rate=1.0,
        columns=FeatureColumns(),
        features=FeatureSettings(),
        score_histogram=(0,),
        files={name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    )
    (package / "manifest.json").write_text(json.dumps(asdict(manifest)))
    registry.register("ad-clicks", package, metrics=metrics, tags={})


def registered(folder, *numbers, **metrics):
    """A registry with versions of these numbers, the first of which is the baseline."""
    registry = MemoryRegistry()
    for number in numbers:
        register(registry, folder, number, **metrics)
    registry.assign("ad-clicks", Role.BASELINE, numbers[0])
    return registry


FAST = Policy(shadow_s=4, ramp_interval_s=2, bake_s=10, guard_s=10, baseline_share=0.02)


@dataclass
class World:
    """A service that a test can crash and start again; what it acts on stays."""

    registry: ModelRegistry
    folder: Path
    behaviour: dict[int, Version] = field(default_factory=lambda: defaultdict(Version))
    rps: int = 200
    seed: int = 0
    told: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.now_s = 1_000.0
        self.loop = asyncio.Runner()
        self.rng = np.random.default_rng(self.seed)
        self.router = MemoryRouter(seed=self.seed)
        self.source = MemorySource()
        self.fleet = MemoryFleet()
        self.labels = MemoryLabels()
        self.has_judge = False
        self.events = Events()
        self.store = standing_file(self.folder / "service.json")
        try:
            self.start()
        except BaseException:
            self.loop.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.loop.close()

    def start(self):
        """The service begins, or begins again after a crash: from what stands in its folder."""
        ports = Ports(
            self.registry, self.fleet, self.router, self.source, self.store, self.labels, has_judge=self.has_judge
        )
        declaration = ModelService(spec=Spec(model="ad-clicks", slo=SLO, policy=FAST, events=self.events))
        self.service = Service(declaration, ports, self.folder, notify=self.told.append)
        self.loop.run(self.service.open())

    def traffic(self, requests: int):
        """Send requests through the router, and let the versions behind it count them."""
        sent = defaultdict(int)
        for _ in range(requests):
            for arm in self.router.send():
                sent[arm] += 1
        for arm, n in sent.items():
            address = self.router.endpoints[Arm.CANARY if arm is Arm.SHADOW else arm]
            version = next(v for v, a in self.fleet.endpoints().items() if a == address)
            self._count(version, arm, self.behaviour[version].serve(n, self.rng))

    def _count(self, version, arm, counts):
        fresh = {a.value: Counts.none(GRID) for a in Arm}
        totals = dict(self.source.totals.get(str(version)) or fresh)
        totals[arm.value] = totals[arm.value] + counts
        self.source.totals[str(version)] = totals

    def second(self):
        """One second of traffic."""
        for version in self.fleet.endpoints():
            self.source.totals.setdefault(str(version), {a.value: Counts.none(GRID) for a in Arm})
        self.traffic(self.rps)
        self.now_s += 1

    def tick(self):
        """One second of traffic, then one tick, and what it has begun to write into the registry."""
        self.second()
        return self.loop.run(self._ticked())

    async def _ticked(self):
        decision = await self.service.tick(self.now_s)
        await self.service._settling.finish()
        return decision

    def release(self, version, policy=FAST, **options):
        for _ in range(3):
            self.tick()
        return self.loop.run(self.service.release(version, policy, self.now_s, **options))

    def run_out(self, ticks=200):
        """Tick until the rollout ends; the decisions on the way."""
        decisions = []
        while self.service.rolling and len(decisions) < ticks:
            decisions.append(self.tick())
        assert not self.service.rolling, decisions[-1]
        self.tick()
        self.loop.run(self.service.close())
        return decisions
