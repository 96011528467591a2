"""What a cluster with Perch in it takes, measured from its kubelets: no metrics server is needed."""

import json
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from perch.install.checkout import Checkout
from perch.install.commands import Cluster

SYSTEM = ("kube-system", "local-path-storage")
"""Namespaces that a kind cluster brings itself."""

_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


@dataclass
class Use:
    """What the pods of one namespace use."""

    pods: int = 0
    cpu_s: float = 0.0
    """Processor seconds since the pods began."""
    memory_bytes: int = 0
    """Working sets: what the kubelet holds against limits."""
    volume_bytes: int = 0
    """What their claims ask for."""


@dataclass(frozen=True)
class Footprint:
    """Use by namespace, with processors as a mean over a window."""

    uses: Mapping[str, Use]
    cpus: Mapping[str, float]
    images_bytes: int
    """Of all images on the nodes."""
    window_s: float


def measure(cluster: Cluster, namespaces: Collection[str], window_s: float = 60.0) -> Footprint:
    """Look twice, `window_s` apart, at the pods of these namespaces.

    Raises:
        PlatformError: The nodes' statistics may not be read; that takes `get` on `nodes/proxy`.
    """
    began_s, before = time.monotonic(), _uses(cluster, namespaces)
    time.sleep(window_s)
    took_s, after = time.monotonic() - began_s, _uses(cluster, namespaces)
    cpus = {name: max(0.0, use.cpu_s - before.get(name, Use()).cpu_s) / took_s for name, use in after.items()}
    return Footprint(after, cpus, _images_bytes(cluster), took_s)


def parts(checkout: Checkout, perch: str) -> tuple[str, ...]:
    """The namespaces that a cluster of ours is made of; `perch` is Perch's own."""
    below = (release.namespace for release in checkout.releases("kind").values())
    return tuple(dict.fromkeys((*SYSTEM, *below, perch)))


def table(found: Footprint, minutes: Iterable[tuple[str, float]]) -> str:
    """The footprint as Markdown; `minutes` says how long each stage of bringing it up took."""
    lines = ["| namespace | pods | CPU | memory | volumes asked for |", "| --- | ---: | ---: | ---: | ---: |"]
    rows = [(name, use.pods, found.cpus[name], use.memory_bytes, use.volume_bytes) for name, use in found.uses.items()]
    pods, cpu, memory, volumes = (sum(column) for column in list(zip(*rows, strict=True))[1:])
    for name, *figures in [*rows, ("**all**", pods, cpu, memory, volumes)]:
        lines.append(f"| {name} | {_row(*figures)} |")
    lines += ["", f"Images on the nodes: {found.images_bytes / 1e9:.1f} GB. CPU is a mean over {found.window_s:.0f} s."]
    if took := list(minutes):
        told = ", ".join(f"{stage} {value:.1f}" for stage, value in took)
        lines += ["", f"Minutes to bring it up: {told}; together {sum(value for _, value in took):.1f}."]
    return "\n".join(lines)


def _row(pods: float, cpu: float, memory_bytes: float, volume_bytes: float) -> str:
    volumes = f"{volume_bytes / 2**30:.0f} GiB" if volume_bytes else ""
    return f"{pods:.0f} | {cpu:.2f} | {memory_bytes / 2**20:.0f} MiB | {volumes}"


def _uses(cluster: Cluster, namespaces: Collection[str]) -> dict[str, Use]:
    uses: dict[str, Use] = defaultdict(Use)
    for pod in _pods(cluster):
        namespace = pod["podRef"]["namespace"]
        if namespace in namespaces:
            use = uses[namespace]
            use.pods += 1
            # The pod's own counter lags behind its containers' when the node is busy.
            use.cpu_s += sum(one.get("cpu", {}).get("usageCoreNanoSeconds", 0) for one in pod["containers"]) / 1e9
            use.memory_bytes += pod.get("memory", {}).get("workingSetBytes", 0)
    for claim in cluster.items("persistentvolumeclaims", "--all-namespaces"):
        if claim["metadata"]["namespace"] in uses:
            asked = claim["spec"]["resources"]["requests"]["storage"]
            uses[claim["metadata"]["namespace"]].volume_bytes += _bytes(asked)
    return {name: uses[name] for name in namespaces if name in uses}


def _pods(cluster: Cluster) -> Iterable[dict[str, Any]]:
    for node in cluster.items("nodes"):
        told = cluster.must_kubectl("get", "--raw", f"/api/v1/nodes/{node['metadata']['name']}/proxy/stats/summary")
        yield from json.loads(told)["pods"]


def _bytes(quantity: str) -> int:
    unit = quantity.lstrip("0123456789.")
    return int(float(quantity.removesuffix(unit)) * _UNITS[unit])


def _images_bytes(cluster: Cluster) -> int:
    listed = (image for node in cluster.items("nodes") for image in node["status"].get("images", []))
    return sum(image["sizeBytes"] for image in listed)
