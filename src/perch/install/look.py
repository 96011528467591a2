"""What the doctor looks at: this machine, and a cluster. Nothing is written, and everything is asked for once."""

import json
import platform
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from perch.install import proofs, samples
from perch.install.checkout import Checkout
from perch.install.commands import Cluster, Finished, run
from perch.install.inside import Inside
from perch.install.machine import Docker, Machine

_INOTIFY: Final = Path("/proc/sys/fs/inotify")
_ARCHES: Final = {"x86_64": "amd64", "aarch64": "arm64"}

_VERSIONS: Final[dict[str, tuple[tuple[str, ...], Callable[[str], str]]]] = {
    "docker": (("docker", "version", "--format", "{{.Client.Version}}"), str.strip),
    "kind": (("kind", "version"), lambda told: told.split()[1]),
    "kubectl": (
        ("kubectl", "version", "--client", "-o", "json"),
        lambda told: _json(told)["clientVersion"]["gitVersion"],
    ),
    "helm": (("helm", "version", "--template", "{{.Version}}"), str.strip),
    "terraform": (("terraform", "version", "-json"), lambda told: _json(told)["terraform_version"]),
}
"""How each command says its version."""


def at_machine(checkout: Checkout) -> Machine:
    """This machine, docker and the commands."""
    docker = run("docker", "info", "--format", "{{json .}}", timeout_s=20.0)
    said = _json(docker.out) if docker.ok else {}
    return Machine(
        docker=_docker(said) if said.get("ServerVersion") else None,
        docker_says="" if docker.ok and not said.get("ServerErrors") else _why(docker, said),
        disk_bytes=shutil.disk_usage(_existing(Path(said.get("DockerRootDir", "/")))).free,
        inotify=_inotify(),
        tools={name: version for name in _VERSIONS if (version := _version(name))},
        images={image: _arch_of(image) for image in checkout.images} if said.get("ServerVersion") else {},
        taken_ports=() if _runs(checkout) else tuple(port for port in checkout.host_ports if _taken(port)),
    )


def into(context: str) -> Inside:
    """The cluster of this kube context."""
    cluster = Cluster(context)
    answer = cluster.kubectl("get", "--raw", "/version", timeout_s=20.0)
    if not answer.ok:
        return Inside(context, "", answer.complaint)
    namespace, name = samples.GATEWAY
    served = _served(cluster)
    return Inside(
        context=context,
        version=_json(answer.out)["gitVersion"].removeprefix("v"),
        api_says="",
        storage_class=_default_class(cluster),
        gateway_api=proofs.bundle_version(cluster),
        gateway_wants=samples.condition(cluster.get("gateway", name, "-n", namespace), "Programmed"),
        kserve=served("inferenceservices.serving.kserve.io"),
        kserve_mode=_kserve_mode(cluster),
        kserve_wants=cluster.refuses(samples.INFERENCE_SERVICE),
        argo=served("workflows.argoproj.io"),
        perch=served("modelservices.perch.dev"),
        operators=_operators(cluster),
    )


# --- this machine ---------------------------------------------------------------------------------------------------


def _docker(said: dict[str, Any]) -> Docker:
    arch = _ARCHES.get(said["Architecture"], said["Architecture"])
    return Docker(said["ServerVersion"], said["NCPU"], said["MemTotal"], arch)


def _why(docker: Finished, said: dict[str, Any]) -> str:
    return str(said["ServerErrors"][0]) if said.get("ServerErrors") else docker.complaint


def _existing(folder: Path) -> Path:
    # In Docker Desktop the folder stands in a virtual machine, whose disk is a file of this one.
    return folder if folder.exists() else Path("/")


def _inotify() -> tuple[int, int] | None:
    if platform.system() != "Linux":
        return None
    watches, instances = (int((_INOTIFY / f"max_user_{kind}").read_text()) for kind in ("watches", "instances"))
    return watches, instances


def _version(name: str) -> str:
    words, read = _VERSIONS[name]
    done = run(*words, timeout_s=20.0)
    return read(done.out).removeprefix("v") if done.out.strip() else ""


def _arch_of(image: str) -> str:
    done = run("docker", "image", "inspect", "--format", "{{.Architecture}}", image)
    return done.out.strip() if done.ok else ""


def _runs(checkout: Checkout) -> bool:
    return checkout.kind["name"] in run("kind", "get", "clusters").out.split()


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


# --- a cluster ------------------------------------------------------------------------------------------------------


def _served(cluster: Cluster) -> Callable[[str], tuple[str, ...]]:
    versions = {
        found["metadata"]["name"]: tuple(one["name"] for one in found["spec"]["versions"] if one["served"])
        for found in cluster.items("crds")
    }
    return lambda name: versions.get(name, ())


def _default_class(cluster: Cluster) -> str:
    for found in cluster.items("storageclasses"):
        if found["metadata"].get("annotations", {}).get("storageclass.kubernetes.io/is-default-class") == "true":
            return str(found["metadata"]["name"])
    return ""


def _kserve_mode(cluster: Cluster) -> str:
    said = cluster.get("configmap", "inferenceservice-config", "-n", "kserve").get("data", {}).get("deploy", "{}")
    return str(_json(said).get("defaultDeploymentMode", ""))


def _operators(cluster: Cluster) -> tuple[str, ...]:
    pods = cluster.items("pods", "--all-namespaces", "-l", "app.kubernetes.io/name=perch-operator")
    ready = (pod["metadata"]["namespace"] for pod in pods if not samples.condition(pod, "Ready"))
    return tuple(sorted(ready))


def _json(text: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(text)
    return read
