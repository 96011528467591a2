"""What Envoy is told, as plain data: the bootstrap, the clusters (CDS) and the route (RDS).

Names follow Envoy Gateway: an HTTPRoute whose backends carry filters becomes one cluster a backend, named
`httproute/<namespace>/<route>/rule/<n>/backend/<i>`. With the same names here, one set of queries serves the laptop
and the cluster. Field names are those of Envoy's v3 API in its JSON form.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perch.adapters.traffic.shares import LIVE_ARMS
from perch.core.types import Arm
from perch.signals.names import ARM_HEADER

Resource = dict[str, Any]

LOOPBACK = "127.0.0.1"
FEEDBACK = "feedback"
"""Name of the cluster that takes outcomes, and the path by which clients reach it."""

ROUTE_TIMEOUT_S = 10
IDLE_TIMEOUT_S = 60
"""Unused upstream connections are closed after this. The model servers keep them for 300 s, so it is never they who
close one that a request is just being written to."""

_API = "type.googleapis.com/envoy"
_CLUSTER = f"{_API}.config.cluster.v3.Cluster"
_ROUTE_CONFIGURATION = f"{_API}.config.route.v3.RouteConfiguration"
_HTTP_CONNECTION_MANAGER = f"{_API}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_HEADER_MUTATION = f"{_API}.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
_ROUTER = f"{_API}.extensions.filters.http.router.v3.Router"
_HTTP_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

# Only what no model has seen is repeated: a scored request that is sent again would be counted twice.
_SAFE_RETRY = {"retry_on": "connect-failure,refused-stream,reset-before-request", "num_retries": 1}


def cluster_name(service: str, arm: Arm) -> str:
    """Name of the cluster of a live arm: baseline 0, stable 1, canary 2."""
    return f"httproute/default/{service}/rule/0/backend/{LIVE_ARMS.index(arm)}"


def _address(host: str, port: int) -> Resource:
    return {"socket_address": {"address": host, "port_value": port}}


def _cluster(name: str, endpoint: str) -> Resource:
    """One upstream with one fixed endpoint (`host:port`), spoken to in HTTP/1.1."""
    host, _, port = endpoint.rpartition(":")
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(host, int(port))}}]}],
        },
        "typed_extension_protocol_options": {
            _HTTP_PROTOCOL_OPTIONS: {
                "@type": f"type.googleapis.com/{_HTTP_PROTOCOL_OPTIONS}",
                "common_http_protocol_options": {"idle_timeout": f"{IDLE_TIMEOUT_S}s"},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
    }


def clusters(service: str, endpoints: Mapping[Arm, str]) -> dict[str, Resource]:
    """The clusters of the live arms by name; `endpoints` are `host:port`."""
    named = {cluster_name(service, arm): to for arm, to in endpoints.items() if arm in LIVE_ARMS}
    return {name: {"@type": _CLUSTER, **_cluster(name, to)} for name, to in sorted(named.items())}


def _weighted(service: str, arm: Arm, units: int) -> Resource:
    return {
        "name": cluster_name(service, arm),
        "weight": units,
        # Overwritten, not appended: a client cannot choose the arm that its request is counted under.
        "request_headers_to_add": [
            {"header": {"key": ARM_HEADER, "value": arm.value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        ],
    }


def _split(service: str, units: Mapping[Arm, int], mirror: int) -> Resource:
    """The route that carries live traffic. Like Envoy Gateway's, it leaves out arms without a weight."""
    action: Resource = {
        "weighted_clusters": {"clusters": [_weighted(service, arm, n) for arm, n in units.items() if n]},
        "timeout": f"{ROUTE_TIMEOUT_S}s",
        "retry_policy": _SAFE_RETRY,
        # Envoy marks a copy by `-shadow` at the end of its host. A client's host, or a service's name, could end so.
        "host_rewrite_literal": f"{service}.perch",
    }
    if mirror:
        fraction = {"default_value": {"numerator": mirror, "denominator": "TEN_THOUSAND"}}
        canary = cluster_name(service, Arm.CANARY)
        action["request_mirror_policies"] = [{"cluster": canary, "runtime_fraction": fraction}]
    return {"match": {"prefix": "/"}, "route": action}


def _nothing_serves(service: str) -> Resource:
    body = {"inline_string": f'{{"error": "no version of {service} has traffic yet"}}'}
    return {"match": {"prefix": "/"}, "direct_response": {"status": 503, "body": body}}


_OUTCOMES = {
    "match": {"path_separated_prefix": f"/{FEEDBACK}"},
    "route": {
        "cluster": FEEDBACK,
        "prefix_rewrite": "/v1/outcomes",
        "timeout": f"{ROUTE_TIMEOUT_S}s",
        "retry_policy": _SAFE_RETRY,
    },
}


def route_configuration(service: str, units: Mapping[Arm, int], mirror: int, *, feedback: bool) -> Resource:
    """Everything a request can be routed by; with no units it is answered 503.

    Args:
        service: Name of the ModelService.
        units: Weight of each live arm in ten-thousandths, adding up to `WHOLE`, or empty.
        mirror: Share of requests copied to the canary, in ten-thousandths.
        feedback: Whether outcomes are taken on `/feedback`.
    """
    serve = _split(service, units, mirror) if units else _nothing_serves(service)
    routes = [_OUTCOMES, serve] if feedback else [serve]
    return {
        "@type": _ROUTE_CONFIGURATION,
        "name": service,
        "virtual_hosts": [{"name": service, "domains": ["*"], "routes": routes}],
    }


def units_of(route: Resource, service: str) -> tuple[dict[Arm, int], int] | None:
    """The inverse of `route_configuration`: weights and mirror in ten-thousandths, `None` when nothing is served."""
    action = route["virtual_hosts"][0]["routes"][-1].get("route")
    if action is None:
        return None
    arms = {cluster_name(service, arm): arm for arm in LIVE_ARMS}
    units = {arms[entry["name"]]: entry["weight"] for entry in action["weighted_clusters"]["clusters"]}
    mirrors = action.get("request_mirror_policies", [])
    return units, sum(policy["runtime_fraction"]["default_value"]["numerator"] for policy in mirrors)


def _watched(path: Path) -> Resource:
    source = {"path": str(path), "watched_directory": {"path": str(path.parent)}}
    return {"resource_api_version": "V3", "path_config_source": source}


# By headers like x-envoy-retry-on a client could have requests repeated that a model has seen.
_NO_ORDERS_TO_ENVOY = {
    "name": "envoy.http.early_header_mutation.header_mutation",
    "typed_config": {
        "@type": _HEADER_MUTATION,
        "mutations": [{"remove_on_match": {"key_matcher": {"prefix": "x-envoy-"}}}],
    },
}


def _listener(service: str, port: int, routes: Path) -> Resource:
    connection_manager = {
        "@type": _HTTP_CONNECTION_MANAGER,
        "stat_prefix": "route",
        "rds": {"route_config_name": service, "config_source": _watched(routes)},
        # The id joins an outcome to its prediction: the client's own is kept, and it learns the one made for it.
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
        "early_header_mutation_extensions": [_NO_ORDERS_TO_ENVOY],
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": connection_manager}]
    return {"name": "route", "address": _address(LOOPBACK, port), "filter_chains": [{"filters": filters}]}


def bootstrap_configuration(
    service: str, *, route_port: int, admin_port: int, feedback: str | None, clusters: Path, routes: Path
) -> Resource:
    """What Envoy starts with: fixed listeners on loopback; the files in which clusters and routes will change."""
    return {
        "node": {"id": f"perch-{service}", "cluster": service},
        "admin": {"address": _address(LOOPBACK, admin_port)},
        "dynamic_resources": {"cds_config": _watched(clusters)},
        "static_resources": {
            "listeners": [_listener(service, route_port, routes)],
            "clusters": [_cluster(FEEDBACK, feedback)] if feedback else [],
        },
    }
