"""What NetworkPolicies allow, read from their text. (Kubernetes, Network Policies.)"""

from dataclasses import dataclass
from ipaddress import ip_address, ip_network


@dataclass(frozen=True)
class Pod:
    """One end of a flow; without a namespace it is outside of the cluster."""

    namespace: str | None
    labels: dict
    address: str = "10.244.0.9"


def allows(policies, source, target, port):
    """Whether both ends let a connection through."""
    return _lets(policies, "egress", source, target, port) and _lets(policies, "ingress", target, source, port)


def _lets(policies, direction, pod, peer, port):
    """Whether the policies of one end do. Where none selects a pod, all is allowed; else what any of them allows."""
    concerned = [
        policy["spec"]
        for policy in policies
        if policy["metadata"]["namespace"] == pod.namespace
        and direction.capitalize() in policy["spec"]["policyTypes"]
        and _selects(policy["spec"]["podSelector"], pod.labels)
    ]
    rules = [rule for spec in concerned for rule in spec.get(direction, [])]
    side = {"egress": "to", "ingress": "from"}[direction]
    return not concerned or any(_matches(rule, side, pod, peer, port) for rule in rules)


def _matches(rule, side, pod, peer, port):
    ports = {f"{one['port']}/{one['protocol']}" for one in rule["ports"]}
    return port in ports and (side not in rule or any(_is(peer, one, pod.namespace) for one in rule[side]))


def _is(pod, peer, namespace):
    if "ipBlock" in peer:
        return ip_address(pod.address) in ip_network(peer["ipBlock"]["cidr"])
    if "namespaceSelector" in peer:
        in_place = pod.namespace and _selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": pod.namespace})
    else:
        in_place = pod.namespace == namespace
    return bool(in_place) and _selects(peer.get("podSelector", {}), pod.labels)


def _selects(selector, labels):
    def holds(one):
        match one["operator"]:
            case "Exists":
                return one["key"] in labels
            case "In":
                return labels.get(one["key"]) in one["values"]
        raise NotImplementedError(one["operator"])

    wanted = selector.get("matchLabels", {})
    return wanted.items() <= labels.items() and all(map(holds, selector.get("matchExpressions", [])))
