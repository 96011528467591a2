"""What a cluster needs of this machine: judged from facts alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from perch.install.finding import Finding, Verdict, judged, numbers

GIB: Final = 2**30

MEMORY_BYTES: Final = 6 * GIB
"""What docker needs for a kind cluster with everything in it."""

DISK_BYTES: Final = 15 * GIB
"""Images twice, in docker and in the node, and volumes."""

INOTIFY: Final = (65_536, 512)
"""Watches and instances that a node with all these pods takes; kind's known issues say more: 524288 and 512."""

_TERRAFORM: Final = "sudo snap install terraform --classic"


@dataclass(frozen=True)
class Docker:
    """The docker that answers."""

    version: str
    cpus: int
    memory_bytes: int
    arch: str


@dataclass(frozen=True)
class Machine:
    """What was found on this machine."""

    docker: Docker | None
    docker_says: str
    """Why it does not answer."""
    disk_bytes: int
    """Free where docker keeps its images."""
    inotify: tuple[int, int] | None
    """Watches and instances a user may have; none where the system has no such limits."""
    tools: Mapping[str, str]
    """Versions of the commands that are there."""
    images: Mapping[str, str]
    """Architecture of each of Perch's images; empty for one that is not there."""
    taken_ports: tuple[int, ...]
    """Ports of the kind cluster that something else holds."""


def of_machine(facts: Machine, pins: Mapping[str, str]) -> Iterable[Finding]:
    """What a kind cluster needs of this machine."""
    yield docker(facts)
    yield memory(facts)
    yield disk(facts.disk_bytes)
    yield inotify(facts.inotify)
    yield ports(facts.taken_ports)
    yield from images(facts)
    yield tool("kind", facts.tools, pins["KIND_VERSION"], f"go install sigs.k8s.io/kind@v{pins['KIND_VERSION']}")
    yield from clients(facts, pins)
    yield tool("terraform", facts.tools, pins["TERRAFORM_VERSION"], _TERRAFORM, needed=False)


def clients(facts: Machine, pins: Mapping[str, str]) -> Iterable[Finding]:
    """What any cluster needs of this machine: the commands that speak to it."""
    wanted = pins["KUBERNETES_VERSION"]
    url = f"https://dl.k8s.io/release/v{wanted}/bin/linux/{facts.docker.arch if facts.docker else 'amd64'}/kubectl"
    yield kubectl(facts.tools, wanted, f"curl -fLO {url} && sudo install kubectl /usr/local/bin")
    yield helm(facts.tools, pins["HELM_VERSION"])


def docker(facts: Machine) -> Finding:
    """Docker is there and answers."""
    if facts.docker is None:
        cost = "without it there are no images and no kind cluster; the local platform and other clusters do without"
        mend = "sudo systemctl start docker" if "docker" in facts.tools else "sudo apt install docker.io"
        return Finding("docker", _absent("docker" in facts.tools), f"{facts.docker_says}; {cost}", mend)
    told = f"{facts.docker.version}, {facts.docker.cpus} CPUs, {facts.docker.arch}"
    return Finding("docker", Verdict.OK, told)


def memory(facts: Machine) -> Finding:
    """Docker has the memory that the cluster takes."""
    if facts.docker is None:
        return Finding("memory", Verdict.MISSING, "docker does not say", needed=False)
    told = f"{facts.docker.memory_bytes / GIB:.1f} GiB in docker; a kind cluster takes {MEMORY_BYTES // GIB}"
    return Finding("memory", judged(good=facts.docker.memory_bytes >= MEMORY_BYTES), told)


def disk(free_bytes: int) -> Finding:
    """There is room for images and volumes."""
    told = f"{free_bytes / GIB:.1f} GiB free where docker keeps images; a kind cluster takes {DISK_BYTES // GIB}"
    enough = free_bytes >= DISK_BYTES
    return Finding("disk", judged(good=enough), told, "" if enough else "docker system prune")


def inotify(limits: tuple[int, int] | None) -> Finding:
    """The kernel lets the pods of a node watch their files."""
    if limits is None:
        return Finding("inotify", Verdict.OK, "no limits here")
    enough = limits[0] >= INOTIFY[0] and limits[1] >= INOTIFY[1]
    told = f"{limits[0]} watches and {limits[1]} instances a user; a node wants {INOTIFY[0]} and {INOTIFY[1]}"
    mend = "sudo sysctl fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=512"
    return Finding("inotify", judged(good=enough), told, "" if enough else mend)


def ports(taken: tuple[int, ...]) -> Finding:
    """The gateway's port is free, or is the cluster's own."""
    if not taken:
        return Finding("ports", Verdict.OK, "free")
    told = f"{', '.join(map(str, taken))} is taken; the gateway of a kind cluster answers there"
    return Finding("ports", Verdict.WRONG, told, f"sudo lsof -i :{taken[0]}")


def images(facts: Machine) -> Iterable[Finding]:
    """Perch's images are built, and for the processor that docker runs on."""
    if facts.docker is None:
        return
    others = {name: arch for name, arch in facts.images.items() if arch and arch != facts.docker.arch}
    missing = [name for name, arch in facts.images.items() if not arch]
    if others:
        told = f"{', '.join(others)} built for {', '.join(set(others.values()))}, docker runs {facts.docker.arch}"
        yield Finding("images", Verdict.WRONG, told, f"make images PLATFORM=linux/{facts.docker.arch}")
    elif missing:
        yield Finding("images", Verdict.MISSING, f"{', '.join(missing)}", "make images", needed=False)
    else:
        yield Finding("images", Verdict.OK, f"{len(facts.images)} for {facts.docker.arch}")


def tool(name: str, found: Mapping[str, str], wanted: str, mend: str, *, needed: bool = True) -> Finding:
    """A command is there, and no older than the pin."""
    if name not in found:
        return Finding(name, Verdict.MISSING, f"not on the PATH; {wanted} is wanted", mend, needed=needed)
    enough = numbers(found[name]) >= numbers(wanted)
    told = f"{found[name]}; {wanted} or newer is wanted"
    return Finding(name, judged(good=enough), told, "" if enough else mend, needed=needed)


def kubectl(found: Mapping[str, str], wanted: str, mend: str) -> Finding:
    """Kubectl speaks to an API server one minor version away (Kubernetes, version skew policy)."""
    if "kubectl" not in found:
        return Finding("kubectl", Verdict.MISSING, f"not on the PATH; {wanted} is wanted", mend)
    near = abs(numbers(found["kubectl"])[1] - numbers(wanted)[1]) <= 1
    told = f"{found['kubectl']}; within one minor version of {wanted} is wanted"
    return Finding("kubectl", judged(good=near), told, "" if near else mend)


def helm(found: Mapping[str, str], wanted: str) -> Finding:
    """Helm is of the major version that the charts are made for."""
    mend = f"go install helm.sh/helm/v3/cmd/helm@v{wanted}"
    if "helm" not in found:
        return Finding("helm", Verdict.MISSING, f"not on the PATH; {wanted} is wanted", mend)
    same = numbers(found["helm"])[0] == numbers(wanted)[0]
    told = f"{found['helm']}; Helm {numbers(wanted)[0]} is wanted"
    return Finding("helm", judged(good=same), told, "" if same else mend)


def _absent(there: bool) -> Verdict:
    return Verdict.WRONG if there else Verdict.MISSING
