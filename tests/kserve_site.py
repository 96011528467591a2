"""A fleet of InferenceServices on an API server in memory, and what a test does to its pods."""

import asyncio

from fake_cluster import NAMESPACE, FakeCluster, pod
from perch.adapters.cluster.seen import Seen
from perch.adapters.fleet.kserve import KServeFleet
from perch.adapters.fleet.kserve_resources import Serving
from perch.errors import PlatformError

OWNER = {"apiVersion": "perch.dev/v1alpha1", "kind": "ModelService", "name": "ads", "uid": "u"}
SERVING = Serving(
    service="ads",
    namespace=NAMESPACE,
    model="ads",
    image="perch-operator:1",
    registry_url="http://mlflow",
    slo_latency_ms=25.0,
    replicas=1,
    cpu="1",
    memory="1Gi",
)


class InCluster:
    """InferenceServices of an API server in memory."""

    pod = "ads-v1-pod"

    def __init__(self, registry, *controllers):
        self._registry = registry
        self.cluster = FakeCluster(*controllers)
        self._seen = Seen.of(self.cluster.client, NAMESPACE)
        self._keeping = None
        self.fleet = None
        self.lost_lease = False

    async def open(self, serving=SERVING, *, renew=True):
        """An operator starts."""
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._seen.keep())
        self.fleet = KServeFleet(
            self.cluster.client, serving, self._registry, seen=self._seen, owner=OWNER, may_write=self._may_write
        )
        await self.fleet.adopt(renew=renew)

    def _may_write(self):
        if self.lost_lease:
            raise PlatformError("This operator does not hold the lease.")

    @property
    def ejected(self):
        return {(1, name) for verb, kind, name in self.cluster.written if (verb, kind) == ("DELETE", "pods")}

    @property
    def running(self):
        """The versions of which there are both objects."""
        assert self.cluster.names("services") == self.cluster.names("inferenceservices")
        return self.cluster.names("inferenceservices")

    def serves(self, address):
        name, _, rest = address.partition(".")
        assert rest == f"{NAMESPACE}:80"
        return name in self.cluster.names("services") and f"{name}-pod" in self.cluster.names("pods")

    def kill(self, version):
        self._put_pod(version, ready=False)

    async def revive(self, version):
        self._put_pod(version, ready=True)
        await self.until(lambda: version not in self.fleet.down())

    def _put_pod(self, version, *, ready):
        labels = self.cluster.get("inferenceservices", f"ads-v{version}")["metadata"]["labels"]
        self.cluster.put("pods", pod(f"ads-v{version}-pod", labels, ready=ready))

    async def until(self, condition):
        """Let the watches go on until something holds."""
        for _ in range(1_000):
            if condition():
                return
            await asyncio.sleep(0.001)
        raise AssertionError("it did not come to that")

    async def close(self):
        self._keeping.cancel()
        await asyncio.gather(self._keeping, return_exceptions=True)
