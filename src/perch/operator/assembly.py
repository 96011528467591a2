"""What all services of one operator share, and what each one is made of."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx2
from lightkube import AsyncClient, Client

from perch import asgi
from perch.adapters.cluster.objects import FIELD_MANAGER, Manifest
from perch.adapters.cluster.seen import Seen
from perch.adapters.cluster.writing import WRITE_S
from perch.adapters.fleet.kserve import KServeFleet
from perch.adapters.fleet.kserve_resources import Serving
from perch.adapters.labels.cluster import ClusterLabels
from perch.adapters.labels.collector_resources import Collecting, Volume
from perch.adapters.labels.judge_resources import Judging
from perch.adapters.metrics.scrape import ScrapeSource
from perch.adapters.notify.webhook import Webhook
from perch.adapters.registry.port import ModelRegistry
from perch.adapters.traffic.gateway import GatewayRouter, Route
from perch.adapters.training.argo import ArgoTrainings
from perch.core.types import Arm, Weights
from perch.drift.watch import DriftWatch
from perch.errors import PlatformError
from perch.freshness.watch import Sources, Watch
from perch.operator.alerts import Alerts, serve
from perch.operator.drift import StatusDrift
from perch.operator.exposure import ANYWHERE, Allowed, check_allowed, hostname_of
from perch.operator.freshness import StatusFreshness
from perch.operator.lease import Lease
from perch.operator.store import StatusStore
from perch.rollout.meters import Meters
from perch.rollout.service import Ports, Service
from perch.settings import ModelService

ALERTS_PORT = 8083

_LISTED_S = 30.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator is told at its start."""

    image: str
    """Serving image of all versions."""

    registry_url: str
    ledgers: Path
    namespace: str
    """Where the operator itself runs, and its lease stands."""

    holder: str
    watched: tuple[str, ...]
    """Namespaces of the services that it runs; none: all."""

    token_secret: str | None
    """Secret in each service's namespace with the token of the fault switches; `None`: there are none."""

    outcomes: Volume | None
    """What each service's collector keeps outcomes on; `None`: there are no collectors, and so no labels."""

    judge_image: str | None = None
    """Image with Evidently, for the judges of services whose policy wants one; `None`: there are none."""

    pull_secrets: tuple[str, ...] = ()
    """Secrets in each service's namespace by which its pods' images are pulled."""

    alerts_token: str | None = None
    """Of Alertmanager; `None`: alerts are not heard."""

    allowed: Allowed = ANYWHERE
    """Where services may be reached."""


class Operator:
    """What all services of one operator share."""

    def __init__(self, options: Options, registry: ModelRegistry, webhook: Webhook | None = None) -> None:
        """Put together what is shared.

        Args:
            options: How it was started.
            registry: Where models are.
            webhook: Is told what happens to services, beside the log; `None`: nobody is.
        """
        self.options = options
        self.registry = registry
        self._webhook = webhook
        timeout = httpx2.Timeout(WRITE_S)  # of connecting, sending and receiving each
        self.client = AsyncClient(field_manager=FIELD_MANAGER, timeout=timeout)
        self.blocking = Client(field_manager=FIELD_MANAGER, timeout=timeout)
        # Of its own: however much there is to write, the lease is renewed in time.
        self.lease = Lease(
            AsyncClient(field_manager=FIELD_MANAGER, timeout=timeout), options.namespace, options.holder, time.monotonic
        )
        self.meters = Meters(lambda: self.lease.held)
        self.watches: dict[tuple[str, str], Watch] = {}
        """Over the age of the models of all services that are run now, by namespace and name."""

        self._seen = {namespace: Seen.of(self.client, namespace) for namespace in options.watched or ("*",)}

    def seen(self, namespace: str) -> Seen:
        """What there is in a namespace."""
        return self._seen.get(namespace) or self._seen["*"]

    def keep(self) -> list[asyncio.Task[None]]:
        """Hold the lease, watch the cluster and hear alerts, for as long as the tasks live."""
        lasting = [self.lease.keep(), *(seen.keep() for seen in self._seen.values())]
        if self.options.alerts_token is not None:
            lasting.append(serve(Alerts(self.options.alerts_token, self.watches, self.lease.check), ALERTS_PORT))
        return [asyncio.create_task(one) for one in lasting]

    def say_of(self, namespace: str, name: str) -> Callable[[str], None]:
        """Tells sentences about a service: to the log, and to whoever wants to be told."""

        def say(sentence: str) -> None:
            _log.info("%s/%s: %s", namespace, name, sentence)
            if self._webhook is not None:
                self._webhook.tell(f"{namespace}/{name}: {sentence}", {"service": name, "namespace": namespace})

        return say

    def parts(self, declaration: ModelService, namespace: str, owner: Manifest) -> "Parts":
        """What a service is made of."""
        return Parts(self, declaration, namespace, owner)


@dataclass(frozen=True, slots=True)
class _Clients:
    """Makes what acts for one service in the cluster. All of it writes only while the operator holds the lease."""

    operator: Operator
    declaration: ModelService
    namespace: str
    owner: Manifest

    def route(self) -> Route:
        cluster = self.declaration.spec.cluster
        hostname = hostname_of(self.declaration, self.namespace)
        return Route(self.declaration.name, self.namespace, cluster.gateway, hostname)

    def router(self) -> GatewayRouter:
        return GatewayRouter(self.operator.blocking, self.route(), owner=self.owner, may_write=self._may_write)

    def labels(self) -> ClusterLabels | None:
        """`None`: nobody collects outcomes."""
        options, spec, name = self.operator.options, self.declaration.spec, self.declaration.name
        if options.outcomes is None:
            return None
        return ClusterLabels(
            self.operator.client,
            Collecting(
                name,
                self.namespace,
                options.image,
                spec.attribution_window_s,
                options.outcomes,
                options.pull_secrets,
                spec.events,
            ),
            self.route(),
            labels_token(options.ledgers, self.namespace, name),
            judging=self.judging(),
            inspecting=self.inspecting(),
            owner=self.owner,
            may_write=self._may_write,
        )

    def judging(self) -> Judging | None:
        """`None`: there is no judge, or none is wanted."""
        return self._with_evidently() if self.declaration.spec.policy.external_judge else None

    def inspecting(self) -> Judging | None:
        """`None`: there is no Evidently, or no inputs are kept."""
        return self._with_evidently() if self.declaration.spec.events.features_share > 0 else None

    def _with_evidently(self) -> Judging | None:
        options = self.operator.options
        if not options.judge_image:
            return None
        return Judging(options.judge_image, self.declaration.spec.model, options.registry_url)

    def fleet(self, seen: Seen, collector_url: str | None) -> KServeFleet:
        options, spec = self.operator.options, self.declaration.spec
        serving = Serving(
            service=self.declaration.name,
            namespace=self.namespace,
            model=spec.model,
            image=options.image,
            registry_url=options.registry_url,
            slo_latency_ms=spec.slo.latency_p99_ms,
            replicas=spec.cluster.replicas,
            cpu=spec.cluster.cpu,
            memory=spec.cluster.memory,
            token_secret=options.token_secret,
            collector_url=collector_url,
            events=spec.events,
            pull_secrets=options.pull_secrets,
        )
        return KServeFleet(
            self.operator.client,
            serving,
            self.operator.registry,
            seen=seen,
            owner=self.owner,
            may_write=self._may_write,
        )

    def store(self) -> StatusStore:
        share = self.declaration.spec.policy.baseline_share
        return StatusStore(
            self.operator.client,
            self.declaration.name,
            self.namespace,
            operator=self.operator.options.namespace,
            may_write=self._may_write,
            weights=lambda standing: standing.weights(share),
        )

    def trainings(self) -> ArgoTrainings:
        return ArgoTrainings(
            self.operator.client,
            self.declaration.name,
            self.namespace,
            memory=self.declaration.spec.training.pod_memory,
            owner=self.owner,
            may_write=self._may_write,
        )

    @property
    def _may_write(self) -> Callable[[], None]:
        return self.operator.lease.check


class Parts:
    """The ports of one service in a cluster, and the service over them."""

    def __init__(self, operator: Operator, declaration: ModelService, namespace: str, owner: Manifest) -> None:
        name, registry = declaration.name, operator.registry
        clients = _Clients(operator, declaration, namespace, owner)
        self._seen, self._key = operator.seen(namespace), (namespace, name)
        self._check_allowed = partial(check_allowed, declaration.spec.cluster, operator.options.allowed)
        self._say = say = operator.say_of(namespace, name)
        self._labels = labels = clients.labels()
        self._fleet = clients.fleet(self._seen, labels.collector_url if labels else None)
        self._metrics = metrics = ScrapeSource(self._fleet.sources)
        self._router = clients.router()
        self.store = clients.store()
        has_judge = clients.judging() is not None
        ports = Ports(registry, self._fleet, self._router, metrics, self.store, labels, has_judge=has_judge)
        self.service = Service(declaration, ports, operator.options.ledgers / namespace / name, notify=say)
        sources = Sources(self.service, clients.trainings(), registry, metrics, StatusFreshness(self.store), labels)
        self.freshness = Watch(declaration, sources, time.time, say)
        self.drift = DriftWatch(
            self.service,
            metrics,
            StatusDrift(self.store),
            clock=time.time,
            notify=say,
            hear=self.freshness.hear,
            outcomes=lambda: self.freshness.change,
            tell=partial(operator.meters.tell_drift, namespace, name),
        )

    async def adopt(self, *, renew: bool) -> None:
        """Take over what runs already; `renew`: for it to be brought up to date."""
        self._check_allowed()
        if self._labels is not None:
            await self._labels.open(self._say)
        await self._adopt_versions(renew=renew)

    async def retreat(self, champion: int) -> None:
        """Send all traffic to the champion, for nobody knows what else was tried."""
        self._check_allowed()
        await self._adopt_versions(renew=False)
        address = self._fleet.endpoints().get(champion)
        if address is not None:
            await asyncio.to_thread(self._router.route, {Arm.STABLE: address}, Weights())

    async def _adopt_versions(self, *, renew: bool) -> None:
        try:
            async with asyncio.timeout(_LISTED_S):
                await self._fleet.adopt(renew=renew)
        except TimeoutError:
            raise PlatformError(
                f"The API server has not listed what there is of services within {_LISTED_S:.0f} s. The operator's log"
                " says which kind it lacks, or may not see."
            ) from None

    async def mend(self) -> AsyncIterator[str]:
        """Bring back what somebody else changed or took away, a sentence for each."""
        namespace, name = self._key
        if self._router.is_foreign(self._seen.routes.of(namespace, name).get(name)):
            self.service.route_anew()
            yield f"Somebody else changed HTTPRoute {name} or took it away; it is written again."
        for version in await self._fleet.mend():
            yield f"Somebody else took version {version} away; it is made again."

    def retrain(self, *, override: bool) -> None:
        """Ask for a run that trains anew."""
        self.freshness.wish(override=override)

    async def close(self) -> None:
        """Close the connections."""
        await self._metrics.close()
        if self._labels is not None:
            await self._labels.close()


def labels_token(folder: Path, namespace: str, name: str) -> str:
    """The operator's own token for the labels of a service, kept apart from the ledgers, which people fetch.

    Raises:
        PlatformError: it cannot be kept.
    """
    try:
        return asgi.read_token(asgi.keep_token(folder / ".labels-tokens" / namespace / name))
    except OSError as error:
        raise PlatformError(f"The token of labels cannot be kept in {folder} ({error.strerror}); mend it.") from None
