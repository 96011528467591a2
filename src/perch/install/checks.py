"""What the doctor makes of what it found: pure functions from facts to findings, with what mends each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

GIB: Final = 2**30

MEMORY_BYTES: Final = 6 * GIB
"""What docker needs for a kind cluster with everything in it."""

DISK_BYTES: Final = 15 * GIB
"""Images twice, in docker and in the node, and volumes."""

INOTIFY: Final = (65_536, 512)
"""Watches and instances that a node with all these pods takes; kind's known issues say more: 524288 and 512."""

_TERRAFORM: Final = "sudo snap install terraform --classic"

KUBERNETES_MINOR: Final = 32
"""The oldest 1.x that KServe 0.20 runs on."""


class Verdict(StrEnum):
    """What is said of one thing."""

    OK = "ok"
    MISSING = "missing"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    verdict: Verdict
    told: str
    """The figure, and what its lack costs."""
    mend: str = ""
    """The one command that mends it; empty where there is none."""
    needed: bool = True
    """Whether the next step fails without it."""

    @property
    def stops(self) -> bool:
        """Whether it has to be mended first."""
        return self.needed and self.verdict is not Verdict.OK


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


@dataclass(frozen=True)
class Inside:
    """What was found in a cluster. Texts that say what is wanting are empty when nothing is."""

    context: str
    version: str
    """Of the API server; empty when it does not answer."""
    api_says: str
    storage_class: str
    gateway_api: str
    gateway_wants: str
    kserve: tuple[str, ...]
    """Versions of its API that are served."""
    kserve_mode: str
    kserve_wants: str
    argo: tuple[str, ...]
    perch: tuple[str, ...]
    operators: tuple[str, ...]
    """Namespaces in which one runs."""


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


def of_cluster(facts: Inside, pins: Mapping[str, str], mends: Mapping[str, str]) -> Iterable[Finding]:
    """What Perch needs of a cluster, and whether it is in it.

    Args:
        facts: What was found.
        pins: Every version by its name.
        mends: The command that installs each chart, by the chart's name.
    """
    yield api(facts)
    if facts.version:
        yield storage(facts.storage_class)
        yield gateway_api(facts, pins["GATEWAY_API_VERSION"], mends["envoy-gateway"])
        yield gateway(facts, mends["gateway"])
        yield kserve(facts, mends["kserve-crd"])
        yield kserve_mode(facts)
        yield kserve_webhook(facts)
        yield argo(facts, mends["argo-workflows"])
        yield perch(facts)
        yield operator(facts)


# --- the machine ----------------------------------------------------------------------------------------------------


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
    return Finding("memory", _judged(facts.docker.memory_bytes >= MEMORY_BYTES), told)


def disk(free_bytes: int) -> Finding:
    """There is room for images and volumes."""
    told = f"{free_bytes / GIB:.1f} GiB free where docker keeps images; a kind cluster takes {DISK_BYTES // GIB}"
    enough = free_bytes >= DISK_BYTES
    return Finding("disk", _judged(enough), told, "" if enough else "docker system prune")


def inotify(limits: tuple[int, int] | None) -> Finding:
    """The kernel lets the pods of a node watch their files."""
    if limits is None:
        return Finding("inotify", Verdict.OK, "no limits here")
    enough = limits[0] >= INOTIFY[0] and limits[1] >= INOTIFY[1]
    told = f"{limits[0]} watches and {limits[1]} instances a user; a node wants {INOTIFY[0]} and {INOTIFY[1]}"
    mend = "sudo sysctl fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=512"
    return Finding("inotify", _judged(enough), told, "" if enough else mend)


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
    return Finding(name, _judged(enough), told, "" if enough else mend, needed=needed)


def kubectl(found: Mapping[str, str], wanted: str, mend: str) -> Finding:
    """Kubectl speaks to an API server one minor version away (Kubernetes, version skew policy)."""
    if "kubectl" not in found:
        return Finding("kubectl", Verdict.MISSING, f"not on the PATH; {wanted} is wanted", mend)
    near = abs(numbers(found["kubectl"])[1] - numbers(wanted)[1]) <= 1
    told = f"{found['kubectl']}; within one minor version of {wanted} is wanted"
    return Finding("kubectl", _judged(near), told, "" if near else mend)


def helm(found: Mapping[str, str], wanted: str) -> Finding:
    """Helm is of the major version that the charts are made for."""
    mend = f"go install helm.sh/helm/v3/cmd/helm@v{wanted}"
    if "helm" not in found:
        return Finding("helm", Verdict.MISSING, f"not on the PATH; {wanted} is wanted", mend)
    same = numbers(found["helm"])[0] == numbers(wanted)[0]
    told = f"{found['helm']}; Helm {numbers(wanted)[0]} is wanted"
    return Finding("helm", _judged(same), told, "" if same else mend)


# --- the cluster ----------------------------------------------------------------------------------------------------


def api(facts: Inside) -> Finding:
    """The API server of this context answers, and is new enough."""
    if not facts.version:
        return Finding(
            "api server", Verdict.MISSING, f"{facts.context}: {facts.api_says}", "kubectl config get-contexts"
        )
    enough = numbers(facts.version)[:2] >= (1, KUBERNETES_MINOR)
    told = f"{facts.context} runs Kubernetes {facts.version}; 1.{KUBERNETES_MINOR} or newer is wanted"
    return Finding("api server", _judged(enough), told, "" if enough else "make cluster-up")


def storage(default: str) -> Finding:
    """Claims without a class get a volume: the registry's and the ledgers'."""
    if default:
        return Finding("storage", Verdict.OK, f"{default} is the default StorageClass")
    mend = 'kubectl annotate storageclass NAME storageclass.kubernetes.io/is-default-class="true"'
    return Finding("storage", Verdict.MISSING, "no default StorageClass; set storageClass in the chart, or", mend)


def gateway_api(facts: Inside, wanted: str, mend: str) -> Finding:
    """The Gateway API has HTTPRoutes of a version that is known to work."""
    if not facts.gateway_api:
        return Finding("gateway api", Verdict.MISSING, "no HTTPRoutes in this cluster", mend)
    enough = numbers(facts.gateway_api) >= numbers(wanted)
    told = f"{facts.gateway_api}; {wanted} or newer is wanted"
    return Finding("gateway api", _judged(enough), told, "" if enough else mend)


def gateway(facts: Inside, mend: str) -> Finding:
    """There is a Gateway that answers."""
    if not facts.gateway_wants:
        return Finding("gateway", Verdict.OK, "programmed")
    return Finding("gateway", Verdict.WRONG, facts.gateway_wants, mend)


def kserve(facts: Inside, mend: str) -> Finding:
    """KServe's InferenceServices are served in the version that the operator writes."""
    if not facts.kserve:
        return Finding("kserve", Verdict.MISSING, "no InferenceServices in this cluster", mend)
    known = "v1beta1" in facts.kserve
    return Finding("kserve", _judged(known), f"serves {', '.join(facts.kserve)}", "" if known else mend)


def kserve_mode(facts: Inside) -> Finding:
    """KServe makes plain Deployments unless told otherwise. The operator tells it, so another default does no harm."""
    told = f"{facts.kserve_mode or 'not said'} by default; Perch asks for Standard in each object"
    return Finding("kserve mode", Verdict.OK if facts.kserve_mode else Verdict.MISSING, told, needed=False)


def kserve_webhook(facts: Inside) -> Finding:
    """KServe's webhooks are alive: they admit an object."""
    if not facts.kserve_wants:
        return Finding("kserve webhook", Verdict.OK, "admits an InferenceService")
    restart = f"kubectl --context {facts.context} -n kserve rollout restart deployment kserve-controller-manager"
    return Finding("kserve webhook", Verdict.WRONG, facts.kserve_wants, restart)


def argo(facts: Inside, mend: str) -> Finding:
    """Argo Workflows is there, for pipelines in the cluster."""
    if facts.argo:
        return Finding("argo", Verdict.OK, f"serves {', '.join(facts.argo)}", needed=False)
    cost = "no Workflows in this cluster: models are trained elsewhere"
    return Finding("argo", Verdict.MISSING, cost, mend, needed=False)


def perch(facts: Inside) -> Finding:
    """The cluster knows ModelServices."""
    if not facts.perch:
        return Finding("modelservices", Verdict.MISSING, "Perch is not in this cluster", _install(facts), needed=False)
    known = "v1alpha1" in facts.perch
    told = f"serves {', '.join(facts.perch)}"
    return Finding("modelservices", _judged(known), told, "" if known else _install(facts))


def operator(facts: Inside) -> Finding:
    """An operator runs them."""
    if facts.operators:
        return Finding("operator", Verdict.OK, f"in {', '.join(facts.operators)}", needed=False)
    return Finding("operator", Verdict.MISSING, "none runs", _install(facts), needed=False)


def _install(facts: Inside) -> str:
    return f"make cluster-up CLUSTER=existing CONTEXT={facts.context}"


def _judged(good: bool) -> Verdict:
    return Verdict.OK if good else Verdict.WRONG


def _absent(there: bool) -> Verdict:
    return Verdict.WRONG if there else Verdict.MISSING


def numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version: `v1.35.4+k3s1` is (1, 35, 4)."""
    plain = version.removeprefix("v").partition("+")[0].partition("-")[0]
    return tuple(int(part) for part in plain.split(".") if part.isdigit())
