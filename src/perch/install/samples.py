"""The objects that a cluster is asked about: whether it would admit them, and what it does with them."""

from typing import Any, Final

from perch.settings.schema import API_VERSION, Cluster

_GATEWAY = Cluster().gateway
GATEWAY: Final = tuple(_GATEWAY.split("/"))
"""Namespace and name of the Gateway that the services' routes go through, as `deploy/gateway` makes it."""

ISSUER: Final = {
    "apiVersion": "cert-manager.io/v1",
    "kind": "Issuer",
    "metadata": {"name": "perch-probe", "namespace": "default"},
    "spec": {"selfSigned": {}},
}

INFERENCE_SERVICE: Final = {
    "apiVersion": "serving.kserve.io/v1beta1",
    "kind": "InferenceService",
    "metadata": {"name": "perch-probe", "namespace": "default"},
    "spec": {"predictor": {"containers": [{"name": "kserve-container", "image": "perch-probe:1"}]}},
}

MODEL_SERVICE: Final = {
    "apiVersion": API_VERSION,
    "kind": "ModelService",
    "metadata": {"name": "perch-probe", "namespace": "default"},
    "spec": {"model": "perch-probe", "cluster": {"gateway": _GATEWAY, "hostname": "probe.perch.invalid"}},
}

ROUTE: Final = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "perch-probe", "namespace": "default"},
    "spec": {
        "parentRefs": [{"namespace": GATEWAY[0], "name": GATEWAY[1]}],
        "hostnames": ["probe.perch.invalid"],
        "rules": [{"filters": [{"type": "RequestRedirect", "requestRedirect": {"hostname": "perch.invalid"}}]}],
    },
}
"""A route for a name that nobody can ask for, from a namespace that is not the Gateway's."""

WORKFLOW: Final = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "Workflow",
    "metadata": {"name": "perch-probe", "namespace": "argo"},
    "spec": {"entrypoint": "wait", "templates": [{"name": "wait", "suspend": {"duration": "1"}}]},
}
"""A workflow that waits for a second: the controller ends it without a pod or an image."""


def condition(found: dict[str, Any], kind: str) -> str:
    """Why this condition of an object is not met; empty when it is."""
    for one in found.get("status", {}).get("conditions", []):
        if one["type"] == kind:
            return "" if one["status"] == "True" else one.get("message") or one.get("reason") or f"not {kind}"
    return f"nothing has said {kind} yet"
