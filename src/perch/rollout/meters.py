"""What is told to Prometheus of each service and of who runs it, for dashboards and alerts.

Decisions do not depend on it: they are made from the serving processes' own counters.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest, start_http_server

from perch.core.freshness_types import State as Age
from perch.core.inputs import State
from perch.core.policy import FreshnessPolicy, Slo
from perch.core.staleness import age_s
from perch.core.types import Action

_SERVICE: Final = ("namespace", "name")


class Meters:
    """A page of metrics of services."""

    def __init__(self, held: Callable[[], bool]) -> None:
        """Make a page that tells of nothing yet; `held` says whether who runs the services may write."""
        self.registry = registry = CollectorRegistry()
        self._of_services: list[Gauge] = []
        self._phases: dict[tuple[str, str], str | None] = {}
        lease = Gauge("perch_operator_lease_held", "Whether this operator may write.", registry=registry)
        lease.set_function(held)
        self._ticks = Histogram(
            "perch_operator_tick_seconds",
            "How long a tick of a service took.",
            buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10),
            registry=registry,
        )
        self._ready = self._gauge("ready", "Whether the champion serves.")
        self._weight = self._gauge("canary_weight", "The canary's share of the traffic.")
        self._evidence = self._gauge("evidence", "Odds, to 1, that the canary harms; 1 without a rollout.")
        self._phase = self._gauge("phase", "1 for the phase that a service is in.", "phase")
        self._ticked = self._gauge("last_tick_timestamp_seconds", "When a tick last went well, since 1970.")
        self._error_rate = self._gauge("slo_error_rate", "The share of requests that may fail.")
        self._drift = {
            name: self._gauge(f"drift_{name}", promise, "feature", "other", "against")
            for name, promise in (
                ("psi", "PSI of an input, or of two together, in the last window of requests."),
                (
                    "limit",
                    "PSI above which two windows in a row are a drift, but for a canary's `_score`: it may differ.",
                ),
                ("jensen_shannon", "Jensen-Shannon distance of the same."),
                ("missing_share", "Share of the requests without a value."),
                ("active", "Whether the input drifts."),
            )
        }
        self._attribution = {
            name: self._gauge(f"attribution_{name}", promise, "feature")
            for name, promise in (
                ("mean", "What an input added to the log-odds, on average of the last window of requests."),
                ("magnitude", "The same without the signs: how much the input matters."),
                ("difference", "How far one of the two is from training: the one nearer to its limit."),
                ("limit", "Difference above which two windows in a row are a drift."),
                ("active", "Whether what the input adds drifts."),
            )
        }
        self._fallen_back = self._gauge("fallen_back", "Whether the last rollout ended with the baseline as champion.")
        self._age = self._gauge("model_age_seconds", "How old the champion is: what it does not know.")
        self._oldest = self._gauge("model_age_limit_seconds", "Age at which a model is trained anew at the latest.")
        self._decay = self._gauge("decay_level", "Evidence that the champion decays; the alarm rings at 1.")
        self._silent = self._gauge("labels_silent", "Whether not one click comes for many that were predicted.")
        self._failures = self._gauge("training_failures", "Runs of training in a row that did not succeed.")
        self._latency = self._gauge("slo_latency_seconds", "What 99 of 100 requests are answered within.")

    def _gauge(self, name: str, promise: str, *further: str) -> Gauge:
        gauge = Gauge(f"perch_modelservice_{name}", promise, (*_SERVICE, *further), registry=self.registry)
        self._of_services.append(gauge)
        return gauge

    def serve(self, port: int) -> None:
        """Answer `/metrics` from a thread; Prometheus asks from outside the pod."""
        start_http_server(port, addr="0.0.0.0", registry=self.registry)  # noqa: S104

    def page(self) -> bytes:
        """The page in Prometheus' text format."""
        return generate_latest(self.registry)

    @contextmanager
    def tick(self) -> Iterator[None]:
        """Time a tick."""
        began_s = time.perf_counter()
        try:
            yield
        finally:
            self._ticks.observe(time.perf_counter() - began_s)

    def begin(self, namespace: str, name: str, slo: Slo) -> None:
        """Tell what a service's users were promised, and that it does not serve yet."""
        self.tell_not_served(namespace, name)
        self._error_rate.labels(namespace, name).set(slo.error_rate)
        self._latency.labels(namespace, name).set(slo.latency_p99_ms / 1000)

    def tell(
        self,
        namespace: str,
        name: str,
        *,
        ready: bool,
        phase: str | None,
        outcome: str | None,
        canary_weight: float,
        e_value: float,
    ) -> None:
        """Tell where a service stands.

        Args:
            namespace: Of the service.
            name: Of the service.
            ready: The champion serves.
            phase: Of the rollout in progress, or `serving`; `None` before anything serves.
            outcome: How the last rollout ended; `None`: there was none.
            canary_weight: Share of the traffic, 0 to 1.
            e_value: Odds, to 1, that the canary harms.
        """
        self._ready.labels(namespace, name).set(ready)
        self._weight.labels(namespace, name).set(canary_weight)
        self._fallen_back.labels(namespace, name).set(outcome == Action.FALL_BACK)
        self._evidence.labels(namespace, name).set(e_value)
        if self._phases.get((namespace, name)) != phase:  # to remove is to look at the series of all services
            self._phases[namespace, name] = phase
            self._phase.remove_by_labels({"namespace": namespace, "name": name})
            if phase is not None:
                self._phase.labels(namespace, name, phase).set(1)

    def tell_age(self, namespace: str, name: str, age: Age, policy: FreshnessPolicy, now_s: float) -> None:
        """Tell how fresh the model of a service is; nothing before anybody has looked."""
        if age.version is None:
            return
        self._age.labels(namespace, name).set(age_s(age, now_s))
        self._oldest.labels(namespace, name).set(policy.staleness_limit_s)
        self._decay.labels(namespace, name).set(age.decay.level / policy.decay_quiet_s)
        self._silent.labels(namespace, name).set(age.decay.is_silent)
        self._failures.labels(namespace, name).set(age.failures)

    def tell_drift(self, namespace: str, name: str, state: State) -> None:
        """Tell how the inputs of a service stand. What drifts is marked where it is found: at a column, or a pair."""
        of = {"namespace": namespace, "name": name}
        for gauge in self._drift.values():
            gauge.remove_by_labels(of)
        for reading in state.readings.values():
            labels = (namespace, name, reading.feature, reading.other, reading.against)
            self._drift["psi"].labels(*labels).set(reading.psi)
            self._drift["limit"].labels(*labels).set(reading.limit)
            self._drift["jensen_shannon"].labels(*labels).set(reading.jensen_shannon)
            self._drift["active"].labels(*labels).set(reading.drifts)
            if not reading.other:
                self._drift["missing_share"].labels(*labels).set(reading.missing)

        self._tell_attributions(namespace, name, state)

    def _tell_attributions(self, namespace: str, name: str, state: State) -> None:
        for gauge in self._attribution.values():
            gauge.remove_by_labels({"namespace": namespace, "name": name})
        for reading in state.attributions.values():
            labels = (namespace, name, reading.feature)
            self._attribution["mean"].labels(*labels).set(reading.mean)
            self._attribution["magnitude"].labels(*labels).set(reading.magnitude)
            self._attribution["difference"].labels(*labels).set(reading.difference)
            self._attribution["limit"].labels(*labels).set(reading.limit)
            self._attribution["active"].labels(*labels).set(reading.drifts)

    def tell_ticked(self, namespace: str, name: str, now_s: float) -> None:
        """Tell that a tick went well."""
        self._ticked.labels(namespace, name).set(now_s)

    def tell_not_served(self, namespace: str, name: str) -> None:
        """Tell that a service is not run at all, for its object or the cluster does not let it."""
        self._ready.labels(namespace, name).set(0)

    def forget(self, namespace: str, name: str) -> None:
        """Tell no more of a service."""
        self._phases.pop((namespace, name), None)
        for gauge in self._of_services:
            gauge.remove_by_labels({"namespace": namespace, "name": name})
