"""Splits traffic by an HTTPRoute of the Gateway API, which is ours alone.

Each arm is one `backendRef` with a filter that stamps the arm on the request. A gateway that builds on Envoy makes one
cluster of each, so an arm has connections and statistics of its own. (Gateway API, HTTPRoute.)

No arm ever leaves the route. Envoy Gateway drops a backend of weight 0 and its cluster, and while proxies take that on,
requests that are still led there are answered 500. So an arm without a share keeps a millionth of the traffic, and what
it gets goes where most of it goes.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lightkube import Client
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import GenericNamespacedResource

from perch.adapters.cluster.objects import MIRROR_PORT, NOT_FOUND, HTTPRoute, Manifest, calling, labels
from perch.adapters.cluster.seen import Written
from perch.adapters.cluster.writing import check_ours, write_over
from perch.adapters.traffic.shares import LIVE_ARMS, WHOLE, as_weights, checked
from perch.core.types import Arm, Weights
from perch.errors import PlatformError
from perch.signals.names import ARM_HEADER

ACCEPTED_TIMEOUT_S: Final = 10.0
"""How long the gateway's controller may take to accept a change. It takes a fraction of a second when all is well."""

SETTLING_S: Final = 10.0
"""How long it may take from then until every proxy follows; a second, as a rule. The API does not tell."""

REQUEST_TIMEOUT: Final = "10s"

_PATHS: Final = (("Exact", "/rank"), ("PathPrefix", "/v1"), ("PathPrefix", "/v2"), ("Exact", "/explain"))
"""Of the three protocols, and of explanations. What tells of a pod, such as `/metrics`, or changes it is not for the
Gateway's clients."""

_ORDERS_TO_ENVOY: Final = tuple(
    f"x-envoy-{order}"
    for order in (
        "retry-on",
        "retry-grpc-on",
        "max-retries",
        "retriable-header-names",
        "retriable-status-codes",
        "hedge-on-per-try-timeout",
        "upstream-rq-timeout-ms",
        "upstream-rq-per-try-timeout-ms",
        "upstream-rq-timeout-alt-response",
        "upstream-stream-duration-ms",
        "upstream-alt-stat-name",
        "expected-rq-timeout-ms",
    )
)
"""Headers by which a client could have a request that a model has seen sent again, or cut off. (Envoy, Router.)"""

_UNIT: Final = 100
"""Weight of a ten-thousandth of the traffic; a backend has a million of them at most."""

_IDLE: Final = 1
"""Weight of an arm without a share."""

_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Route:
    """Where the route of a service hangs."""

    service: str
    namespace: str
    gateway: str
    """`namespace/name` of the Gateway."""

    hostname: str
    """Host that clients name in their requests."""

    @property
    def manifest(self) -> Manifest:
        """The route without its rule."""
        namespace, _, name = self.gateway.partition("/")
        return {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": self.service, "namespace": self.namespace, "labels": labels(self.service)},
            "spec": {
                "parentRefs": [{"namespace": namespace, "name": name}],
                "hostnames": [self.hostname],
            },
        }


class GatewayRouter:
    """A `TrafficRouter` that writes one HTTPRoute. Its calls block; it is made for a thread."""

    def __init__(self, client: Client, route: Route, *, owner: Manifest, may_write: Callable[[], None]) -> None:
        """Make a router.

        Args:
            client: Of the API server.
            route: Where the route hangs.
            owner: Reference to the object with which the route is to go.
            may_write: Asked right before each write; raises `PlatformError` when another operator writes.
        """
        self._client = client
        self._route = route
        self._owner = owner
        self._may_write = may_write
        self._written: Written | None = None

    def route(self, endpoints: Mapping[Arm, str], weights: Weights) -> None:
        """See `TrafficRouter.route`. Endpoints are `SERVICE.NAMESPACE:PORT`; all are in the route's namespace.

        Returns when the gateway's controller has accepted the change; it is in force within `SETTLING_S` from then.

        Raises:
            PlatformError: see `TrafficRouter.route`; the route belongs to somebody else; another operator writes; or it
                is not accepted.
        """
        units = checked(endpoints, weights)
        manifest = self._route.manifest
        manifest["metadata"]["ownerReferences"] = [self._owner]
        manifest["spec"]["rules"] = [rule(endpoints, units, round(weights.mirror * WHOLE))]
        self._written = None  # what fails may have been written all the same, and would be taken for somebody else's
        self._written = written = self._write(manifest)
        self._await_accepted(written.generation)

    def _write(self, manifest: Manifest) -> Written:
        """Write the route; what it is then.

        It names the version that it replaces. It is that, and no timeout, that bounds a write which is on its way for
        longer than the lease lasts.
        """

        def write() -> Written:
            before = self._read()
            check_ours(before, self._route.service, self._owner)
            manifest["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"] if before else None
            self._may_write()
            return Written.of(self._client.apply(HTTPRoute.from_dict(manifest), force=True))

        return write_over(f"change the weights of {self._route.service}", write)

    def is_foreign(self, seen: Written | None) -> bool:
        """Whether a route that was seen, `None` where there is none, was written by somebody else since."""
        written = self._written
        if written is None:
            return False
        return seen is None or seen.uid != written.uid or seen.generation > written.generation

    def weights(self) -> Weights:
        """See `TrafficRouter.weights`. Without a route, or where it is none of ours, the default ones."""
        found = self._read()
        try:
            return Weights() if found is None else weights_of(found)
        except (LookupError, TypeError, ValueError):
            return Weights()

    def _read(self) -> GenericNamespacedResource | None:
        with calling(f"read the route of {self._route.service}"):
            try:
                return self._client.get(HTTPRoute, self._route.service, namespace=self._route.namespace)
            except ApiError as error:
                if error.status.code == NOT_FOUND:
                    return None
                raise

    def _await_accepted(self, generation: int) -> None:
        deadline, refused = time.monotonic() + ACCEPTED_TIMEOUT_S, "no controller has looked at it"
        while time.monotonic() < deadline:
            verdict = _refusal(self._read() or {}, generation)
            if verdict is None:
                return
            refused = verdict
            time.sleep(_POLL_S)
        raise PlatformError(
            f"The gateway {self._route.gateway} did not accept the route of {self._route.service} within "
            f"{ACCEPTED_TIMEOUT_S:.0f} s: {refused}. See `kubectl describe httproute {self._route.service}`."
        )


def rule(endpoints: Mapping[Arm, str], units: Mapping[Arm, int], mirror: int) -> Manifest:
    """The route's only rule; units and mirror in ten-thousandths."""
    main = endpoints[max(LIVE_ARMS, key=lambda arm: units.get(arm, 0))]
    split: Manifest = {
        "matches": [{"path": {"type": kind, "value": path}} for kind, path in _PATHS],
        "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": list(_ORDERS_TO_ENVOY)}}],
        "backendRefs": [
            {**_backend(endpoints[arm]), "weight": units[arm] * _UNIT, "filters": [_stamp(arm)]}
            if units.get(arm)
            else {**_backend(main), "weight": _IDLE, "filters": [_stamp(arm)]}
            for arm in LIVE_ARMS
        ],
        "timeouts": {"request": REQUEST_TIMEOUT},
    }
    if mirror:
        fraction = {"numerator": mirror, "denominator": WHOLE}
        mirrored = {"backendRef": {**_backend(endpoints[Arm.CANARY]), "port": MIRROR_PORT}, "fraction": fraction}
        split["filters"].append({"type": "RequestMirror", "requestMirror": mirrored})
    return split


def weights_of(route: Mapping[str, Any]) -> Weights:
    """The inverse of `rule`: the weights that a route's object asks for."""
    split = route["spec"]["rules"][0]
    units = {_stamped(backend): backend.get("weight", 1) // _UNIT for backend in split["backendRefs"]}
    mirrors = [one["requestMirror"] for one in split.get("filters", []) if one["type"] == "RequestMirror"]
    return as_weights(units, sum(mirror["fraction"]["numerator"] for mirror in mirrors))


def _backend(endpoint: str) -> Manifest:
    host, _, port = endpoint.rpartition(":")
    return {"name": host.partition(".")[0], "port": int(port)}


def _stamp(arm: Arm) -> Manifest:
    """Set, not added: a client cannot choose the arm that its request is counted under."""
    header = {"name": ARM_HEADER, "value": arm.value}
    return {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [header]}}


def _stamped(backend: Mapping[str, Any]) -> Arm:
    (modifier,) = (one["requestHeaderModifier"] for one in backend["filters"] if "requestHeaderModifier" in one)
    return Arm(modifier["set"][0]["value"])


def _refusal(route: Mapping[str, Any], generation: int) -> str | None:
    """Why the controller has not accepted this generation of the route; `None` when it has."""
    parents = route.get("status", {}).get("parents", [])
    conditions = [condition for parent in parents for condition in parent.get("conditions", [])]
    current = {one["type"]: one for one in conditions if one.get("observedGeneration", 0) >= generation}
    for wanted in ("Accepted", "ResolvedRefs"):
        if wanted not in current:
            return f"its condition {wanted} is not there yet"
        if current[wanted]["status"] != "True":
            return f"{current[wanted]['reason']}: {current[wanted].get('message', '')}"
    return None
