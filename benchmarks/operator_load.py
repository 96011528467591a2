"""What the operator needs for many ModelServices: processor, memory, and whether each gets its tick a second.

The API server is a real one (`KUBECONFIG`), with Perch's CRD; the objects, their statuses, the lease and the watches
are real. The data plane is not: nothing is started or routed, and two pages of metrics answer for all pods, 50
requests a second each. One row with no rollouts, one with some, one where every service is in mid-rollout. Run with
`make bench-operator`.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import kopf
import psutil
from lightkube import Client
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace
from lightkube.types import PatchType

from perch.adapters.cluster.objects import ModelServiceObject
from perch.adapters.fleet.memory import MemoryFleet
from perch.adapters.metrics.scrape import ScrapeSource
from perch.adapters.registry.memory import MemoryRegistry
from perch.adapters.registry.port import ModelVersion, Role
from perch.adapters.traffic.memory import MemoryRouter
from perch.core.types import Arm
from perch.operator.app import handlers
from perch.operator.assembly import Operator, Options
from perch.operator.store import StatusStore
from perch.rollout.service import Ports, Service
from perch.serving.meters import Meters
from perch.serving.question import Identity
from perch.signals import names
from perch.workload.schema import CLICK_LOG

MEASURED_S = 60.0
SETTLED_S = 300.0
RPS = 50
METRICS_PORT = 18082
_SERVED = (Arm.STABLE, Arm.CANARY)
_FREED = {"metadata": {"finalizers": None}}
_LONG = {"shadow": False, "bakeS": 86_000, "startWeight": 0.5, "rampIntervalS": 86_000}


class Page:
    """A serving process that only counts, by the clock."""

    def __init__(self, arm):
        self.meters = Meters(Identity("ads", "1"), names.grid(100.0), CLICK_LOG)
        self.meter = self.meters._arms[arm.encode()]  # noqa: SLF001  what a request would do
        self.began_s, self.served, self.body, self.fresh_until_s = time.monotonic(), 0, b"", 0.0

    def render(self):
        """The page, made a few times a second, so that all services together cost little."""
        now_s = time.monotonic()
        if now_s >= self.fresh_until_s:
            due = int((now_s - self.began_s) * RPS)
            for i in range(self.served, due):
                self.meter.started += 1
                self.meter.finish("ok", 0.004 + 0.001 * (i % 5))
                self.meter.scores[len(self.meter.scores) // 2 + i % 3] += 1
            self.served, self.fresh_until_s = due, now_s + 0.2
            page = self.meters.render()
            self.body = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(page), page)
        return self.body

    async def answer(self, reader, writer):
        """Answer whatever is asked on a connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(self.render())
        writer.close()


def serve_pages(ports):
    """Answer for the champion and the canary of all services."""

    async def serve():
        servers = [await asyncio.start_server(Page(arm.value).answer, "127.0.0.1", 0) for arm in _SERVED]
        ports.send([server.sockets[0].getsockname()[1] for server in servers])
        await asyncio.gather(*(server.serve_forever() for server in servers))

    asyncio.run(serve())


class Registry(MemoryRegistry):
    """Two versions whose packages nobody fetches."""

    def __init__(self):
        super().__init__()
        self.roles = {Role.CHAMPION: 1, Role.BASELINE: 1}

    def get(self, model, version):
        return ModelVersion(model, version, "0" * 64, "logistic", (1,) * 40)

    def holder(self, model, role):
        return self.get(model, self.roles[role]) if role in self.roles else None

    def assign(self, model, role, version):
        pass

    def withdraw(self, model, role):
        pass


class FakedParts:
    """A service whose data plane is faked; its status is not."""

    def __init__(self, operator, declaration, namespace, pages):
        fleet = MemoryFleet()
        address = dict(zip((1, 2), pages, strict=True))
        self._metrics = ScrapeSource(lambda: {str(v): f"127.0.0.1:{address[v]}" for v in fleet.endpoints()})
        share = declaration.spec.policy.baseline_share
        self.store = StatusStore(
            operator.client,
            declaration.name,
            namespace,
            operator=namespace,
            may_write=operator.lease.check,
            weights=lambda standing: standing.weights(share),
        )
        ports = Ports(operator.registry, fleet, MemoryRouter(seed=0), self._metrics, self.store)
        folder = operator.options.ledgers / declaration.name
        self.service = Service(declaration, ports, folder, notify=lambda _: None)

    async def adopt(self, *, renew):
        pass

    async def retreat(self, champion):
        pass

    async def mend(self) -> AsyncIterator[str]:
        for sentence in ():
            yield sentence

    async def close(self):
        await self._metrics.close()


def operate(namespace, pages):
    """The operator's process."""

    class Faked(Operator):
        def parts(self, declaration, namespace, owner):  # noqa: ARG002
            return FakedParts(self, declaration, namespace, pages)

    with tempfile.TemporaryDirectory() as folder:
        options = Options(
            image="none",
            registry_url="none",
            ledgers=Path(folder),
            namespace=namespace,
            holder=uuid4().hex,
            watched=(namespace,),
            token_secret=None,
            outcomes=None,
        )
        operator = Faked(options, Registry())
        operator.meters.serve(METRICS_PORT)
        kopf.run(registry=handlers(operator), namespaces=[namespace], standalone=True)


@dataclass
class Row:
    """What was measured."""

    services: int
    rolling: int
    cores: float
    rss_mib: float
    ticks_per_s: float
    late_share: float
    api_cores: float | None


def declare(client, namespace, services, rolling):
    for i in range(services):
        spec = {"model": f"ads-{i}", "policy": _LONG, "slo": {"latencyP99Ms": 100}}
        if i < rolling:
            spec["version"] = 2
        manifest = {
            "apiVersion": "perch.dev/v1alpha1",
            "kind": "ModelService",
            "metadata": {"name": f"ads-{i}", "namespace": namespace},
            "spec": spec,
        }
        client.apply(ModelServiceObject.from_dict(manifest), field_manager="bench", force=True)


def ticks():
    """Ticks so far, and those that took longer than a third of a second."""
    text = httpx.get(f"http://127.0.0.1:{METRICS_PORT}/metrics", trust_env=False).text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    count = float(lines["perch_operator_tick_seconds_count"])
    return count, count - float(lines['perch_operator_tick_seconds_bucket{le="0.3"}'])


def settle(client, operator, namespace, services, rolling):
    """Wait until every service serves and every rollout has begun."""
    deadline = time.monotonic() + SETTLED_S
    while time.monotonic() < deadline and operator.is_alive():
        found = [one.get("status") or {} for one in client.list(ModelServiceObject, namespace=namespace)]
        serving = sum(status.get("champion") is not None for status in found)
        begun = sum(status.get("phase") not in {None, "serving"} for status in found)
        print(f"\r  {serving} of {services} serve, {begun} of {rolling} roll ", end="", file=sys.stderr)
        if serving == services and begun == rolling:
            print(file=sys.stderr)
            return
        time.sleep(2)
    raise SystemExit("\nthey did not all come up")


def cpu_s(process):
    used = process.cpu_times()
    return used.user + used.system


def measure(process, services, rolling, measured_s):
    api = next((p for p in psutil.process_iter(["name"]) if p.info["name"] == "kube-apiserver"), None)
    before, (ticked, late), began_s = cpu_s(process), ticks(), time.monotonic()
    api_before = cpu_s(api) if api else 0.0
    rss = []
    while time.monotonic() < began_s + measured_s:
        time.sleep(1)
        rss.append(process.memory_info().rss / 2**20)
    took_s = time.monotonic() - began_s
    after = ticks()
    return Row(
        services,
        rolling,
        (cpu_s(process) - before) / took_s,
        max(rss),
        (after[0] - ticked) / took_s / services,
        (after[1] - late) / max(after[0] - ticked, 1),
        (cpu_s(api) - api_before) / took_s if api else None,
    )


def main():
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--services", type=int, default=200)
    asked.add_argument("--rolling", type=int, nargs="*", default=[0, 20, 200])
    asked.add_argument("--seconds", type=float, default=MEASURED_S)
    asked = asked.parse_args()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    pages = context.Process(target=serve_pages, args=(theirs,), daemon=True)
    pages.start()
    client, namespace = Client(), f"perch-bench-{uuid4().hex[:6]}"
    client.create(Namespace(metadata=ObjectMeta(name=namespace)))
    operator = context.Process(target=operate, args=(namespace, ours.recv()), daemon=True)
    operator.start()
    try:
        print("services  rolling  cores   MiB  ticks/s  over 0.3 s  API server's cores")
        for rolling in asked.rolling:
            declare(client, namespace, asked.services, rolling)
            settle(client, operator, namespace, asked.services, rolling)
            row = measure(psutil.Process(operator.pid), asked.services, rolling, asked.seconds)
            api = "" if row.api_cores is None else f"{row.api_cores:.2f}"
            print(
                f"{row.services:8} {row.rolling:8} {row.cores:6.2f} {row.rss_mib:5.0f} {row.ticks_per_s:8.2f} "
                f"{row.late_share:10.1%}  {api}"
            )
    finally:
        operator.terminate()
        operator.join(10)
        for one in client.list(ModelServiceObject, namespace=namespace):
            client.patch(ModelServiceObject, one.metadata.name, _FREED, namespace=namespace, patch_type=PatchType.MERGE)
        client.delete(Namespace, namespace)


if __name__ == "__main__":
    main()
