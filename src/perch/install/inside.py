"""What Perch needs of a cluster: judged from facts alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from perch.install.finding import Finding, Verdict, judged, numbers

KUBERNETES_MINOR: Final = 32
"""The oldest 1.x that KServe 0.20 runs on."""


@dataclass(frozen=True)
class Inside:
    """What was found in a cluster. Texts that say what is wanting are empty when nothing is."""

    context: str
    version: str
    """Of the API server; empty when it does not answer."""
    api_says: str
    storage_class: str = ""
    gateway_api: str = ""
    gateway_wants: str = ""
    kserve: tuple[str, ...] = ()
    """Versions of its API that are served."""
    kserve_mode: str = ""
    kserve_wants: str = ""
    argo: tuple[str, ...] = ()
    perch: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    """Namespaces in which one runs."""


def of_cluster(facts: Inside, pins: Mapping[str, str], mends: Mapping[str, str]) -> Iterable[Finding]:
    """What Perch needs of a cluster, and whether it is in it.

    Args:
        facts: What was found.
        pins: Every version by its name.
        mends: The command that installs each chart, by the chart's name.
    """
    yield api(facts)
    if facts.version:
        yield storage(facts)
        yield gateway_api(facts, pins["GATEWAY_API_VERSION"], mends["envoy-gateway"])
        yield gateway(facts, mends["gateway"])
        yield kserve(facts, mends["kserve-crd"])
        yield kserve_mode(facts)
        yield kserve_webhook(facts)
        yield argo(facts, mends["argo-workflows"])
        yield perch(facts)
        yield operator(facts)


def api(facts: Inside) -> Finding:
    """The API server of this context answers, and is new enough."""
    if not facts.version:
        return Finding(
            "api server", Verdict.MISSING, f"{facts.context}: {facts.api_says}", "kubectl config get-contexts"
        )
    enough = numbers(facts.version)[:2] >= (1, KUBERNETES_MINOR)
    told = f"{facts.context} runs Kubernetes {facts.version}; 1.{KUBERNETES_MINOR} or newer is wanted"
    return Finding("api server", judged(good=enough), told, "" if enough else "make cluster-up")


def storage(facts: Inside) -> Finding:
    """Claims without a class get a volume: the registry's and the ledgers'."""
    if facts.storage_class:
        return Finding("storage", Verdict.OK, f"{facts.storage_class} is the default StorageClass")
    default = 'storageclass.kubernetes.io/is-default-class="true"'
    mend = f"kubectl --context {facts.context} annotate storageclass NAME {default}"
    return Finding("storage", Verdict.MISSING, "no default StorageClass; set storageClass in the chart, or", mend)


def gateway_api(facts: Inside, wanted: str, mend: str) -> Finding:
    """The Gateway API has HTTPRoutes of a version that is known to work."""
    if not facts.gateway_api:
        return Finding("gateway api", Verdict.MISSING, "no HTTPRoutes in this cluster", mend)
    enough = numbers(facts.gateway_api) >= numbers(wanted)
    told = f"{facts.gateway_api}; {wanted} or newer is wanted"
    return Finding("gateway api", judged(good=enough), told, "" if enough else mend)


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
    return Finding("kserve", judged(good=known), f"serves {', '.join(facts.kserve)}", "" if known else mend)


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
    return Finding("modelservices", judged(good=known), told, "" if known else _install(facts))


def operator(facts: Inside) -> Finding:
    """An operator runs them."""
    if facts.operators:
        return Finding("operator", Verdict.OK, f"in {', '.join(facts.operators)}", needed=False)
    return Finding("operator", Verdict.MISSING, "none runs", _install(facts), needed=False)


def _install(facts: Inside) -> str:
    return f"make cluster-up CLUSTER=existing CONTEXT={facts.context}"
