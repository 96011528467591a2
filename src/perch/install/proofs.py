"""What shows that a part of a cluster works: not that its pods run, but that it does what it is there for.

Each proof asks once and gives a sentence that says what is still wanting; an empty one is a proof.
"""

import json
from collections.abc import Callable

from perch.install import samples
from perch.install.commands import Cluster, run

Proof = Callable[[Cluster], str]


def nodes(cluster: Cluster) -> str:
    """Every node is ready."""
    found = cluster.items("nodes")
    waiting = [node["metadata"]["name"] for node in found if samples.condition(node, "Ready")]
    return f"not ready: {', '.join(waiting)}" if waiting else "" if found else "the API server does not answer"


def cert_manager(cluster: Cluster) -> str:
    """Its webhook admits an Issuer."""
    return cluster.refuses(samples.ISSUER)


def gateway_api(cluster: Cluster, wanted: str) -> str:
    """The bundle of the Gateway API that the pins name is there."""
    found = bundle_version(cluster)
    return "" if found == wanted else f"Gateway API is {found or 'missing'}, not {wanted}"


def bundle_version(cluster: Cluster) -> str:
    """Version of the Gateway API in the cluster, such as `1.5.1`; empty when it is not there."""
    notes = cluster.get("crd", "httproutes.gateway.networking.k8s.io").get("metadata", {}).get("annotations", {})
    return str(notes.get("gateway.networking.k8s.io/bundle-version", "")).removeprefix("v")


def gateway(cluster: Cluster) -> str:
    """The Gateway is programmed, and takes a route from another namespace."""
    namespace, name = samples.GATEWAY
    wanting = samples.condition(cluster.get("gateway", name, "-n", namespace), "Programmed")
    if wanting:
        return wanting
    cluster.must_kubectl("apply", "-f", "-", text=json.dumps(samples.ROUTE))
    route = cluster.get("httproute", "perch-probe", "-n", "default")
    parents = route.get("status", {}).get("parents", [])
    wanting = (
        samples.condition({"status": parents[0]}, "Accepted") if parents else "no gateway has looked at a route yet"
    )
    if not wanting:
        cluster.must_kubectl("delete", "httproute", "perch-probe", "-n", "default")
    return wanting


def kserve(cluster: Cluster) -> str:
    """Its webhooks admit an InferenceService."""
    return cluster.refuses(samples.INFERENCE_SERVICE)


def argo(cluster: Cluster) -> str:
    """Its controller takes a workflow to its end."""
    if not cluster.get("workflow", "perch-probe", "-n", "argo"):
        cluster.must_kubectl("create", "-f", "-", text=json.dumps(samples.WORKFLOW))
    phase = cluster.get("workflow", "perch-probe", "-n", "argo").get("status", {}).get("phase", "not begun")
    if phase != "Succeeded":
        return f"a workflow that waits for a second is {phase}"
    cluster.must_kubectl("delete", "workflow", "perch-probe", "-n", "argo")
    return ""


def prometheus(cluster: Cluster) -> str:
    """It answers a query, and has something that it scrapes."""
    path = "/api/v1/namespaces/monitoring/services/prometheus-server:80/proxy/api/v1/query?query=up"
    done = cluster.kubectl("get", "--raw", path, timeout_s=20.0)
    if not done.ok:
        return done.complaint
    return "" if json.loads(done.out)["data"]["result"] else "it scrapes nothing yet"


def images_on(container: str, wanted: tuple[str, ...]) -> Proof:
    """The node that runs in this container of docker has these images."""

    def images(_: Cluster) -> str:
        done = run("docker", "exec", container, "crictl", "images", "-o", "json")
        if not done.ok:
            return done.complaint
        tags = {tag.rpartition("/")[2] for image in json.loads(done.out)["images"] for tag in image["repoTags"]}
        missing = [image for image in wanted if image not in tags]
        return f"the node lacks {', '.join(missing)}" if missing else ""

    return images


def perch_in(namespace: str) -> Proof:
    """The API server knows a ModelService, and the operator of this namespace holds its lease."""

    def perch(cluster: Cluster) -> str:
        wanting = cluster.refuses(samples.MODEL_SERVICE)
        for deployment in cluster.items("deployments", "-n", namespace, "-l", "app.kubernetes.io/part-of=perch"):
            name = deployment["metadata"]["name"]
            wanting = wanting or (samples.condition(deployment, "Available") and f"{name} is not available yet")
        lease = cluster.get("lease", "perch-operator", "-n", namespace)
        return wanting or ("" if lease.get("spec", {}).get("holderIdentity") else "no operator holds the lease yet")

    return perch
