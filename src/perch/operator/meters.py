"""What the operator tells Prometheus of itself and of each service, for dashboards and alarms.

Decisions do not depend on it: they are made from the serving pods' own counters.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, Histogram, start_http_server

from perch.operator.lease import Lease
from perch.operator.reporting import READY
from perch.settings.status import ModelServiceStatus

_SERVICE: Final = ("namespace", "name")


class Meters:
    """The operator's page of metrics."""

    def __init__(self, lease: Lease) -> None:
        self._registry = registry = CollectorRegistry()
        held = Gauge("perch_operator_lease_held", "Whether this operator may write.", registry=registry)
        held.set_function(lambda: lease.held)
        self._ticks = Histogram(
            "perch_operator_tick_seconds",
            "How long a tick of a service took.",
            buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10),
            registry=registry,
        )
        self._ready = Gauge(
            "perch_modelservice_ready", "Whether the champion serves.", labelnames=_SERVICE, registry=registry
        )
        self._weight = Gauge(
            "perch_modelservice_canary_weight",
            "The canary's share of the traffic.",
            labelnames=_SERVICE,
            registry=registry,
        )
        self._phase = Gauge(
            "perch_modelservice_phase",
            "1 for the phase that a service is in.",
            labelnames=(*_SERVICE, "phase"),
            registry=registry,
        )
        self._phases: dict[tuple[str, str], str] = {}

    def serve(self, port: int) -> None:
        """Answer `/metrics` from a thread; Prometheus asks from outside the pod."""
        start_http_server(port, addr="0.0.0.0", registry=self._registry)  # noqa: S104

    @contextmanager
    def tick(self) -> Iterator[None]:
        """Time a tick."""
        began_s = time.perf_counter()
        try:
            yield
        finally:
            self._ticks.observe(time.perf_counter() - began_s)

    def tell(self, namespace: str, name: str, status: ModelServiceStatus, canary_weight: float) -> None:
        """Tell where a service stands."""
        ready = {one.type: one.status for one in status.conditions}.get(READY)
        self._ready.labels(namespace, name).set(ready == "True")
        self._weight.labels(namespace, name).set(canary_weight)
        before = self._phases.get((namespace, name))
        if before is not None and before != status.phase:
            self._phase.remove(namespace, name, before)
        self._phases[namespace, name] = status.phase
        self._phase.labels(namespace, name, status.phase).set(1)

    def forget(self, namespace: str, name: str) -> None:
        """Tell no more of a service."""
        phase = self._phases.pop((namespace, name), None)
        if phase is not None:
            self._ready.remove(namespace, name)
            self._weight.remove(namespace, name)
            self._phase.remove(namespace, name, phase)
