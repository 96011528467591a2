"""The operator's process: kopf watches the ModelServices and keeps a task for each; the lease decides who acts."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import kopf
from lightkube import AsyncClient, Client
from pydantic import ValidationError

from perch import asgi
from perch.adapters.cluster.objects import FIELD_MANAGER, Manifest
from perch.adapters.cluster.seen import Seen
from perch.adapters.fleet.kserve import KServeFleet
from perch.adapters.fleet.kserve_resources import Serving
from perch.adapters.labels.cluster import ClusterLabels
from perch.adapters.labels.collector_resources import Collecting, Volume
from perch.adapters.metrics.scrape import ScrapeSource
from perch.adapters.registry.port import ModelRegistry
from perch.adapters.traffic.gateway import GatewayRouter, Route
from perch.core.types import Weights
from perch.errors import PerchError, PlatformError
from perch.operator.hosted import REQUEST_ANNOTATION, Hosted, Wish
from perch.operator.lease import LASTS_S, TRUSTED_S, Lease
from perch.operator.meters import Meters
from perch.operator.store import StatusStore, SupersededError
from perch.rollout.service import Ports, Service
from perch.rollout.standing import Standing
from perch.settings import ModelService, Spec

GROUP, VERSION, PLURAL = "perch.dev", "v1alpha1", "modelservices"
TICK_S = 1.0

_WAIT_S = 1.0
_RETRY_S = 10.0

_GOOD_NEWS = {"Released", "WeightsChanged", "Promoted", "Ended"}

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


class Operator:
    """What all services of one operator share."""

    def __init__(self, options: Options, registry: ModelRegistry) -> None:
        self.options = options
        self.registry = registry
        # What is sent while the lease is trusted has ended before another operator may hold it.
        timeout = httpx2.Timeout(LASTS_S - TRUSTED_S)
        self.client = AsyncClient(field_manager=FIELD_MANAGER, timeout=timeout)
        self.blocking = Client(field_manager=FIELD_MANAGER, timeout=timeout)
        # Of its own: however much there is to write, the lease is renewed in time.
        self.lease = Lease(
            AsyncClient(field_manager=FIELD_MANAGER, timeout=timeout), options.namespace, options.holder, time.monotonic
        )
        self.meters = Meters(self.lease)
        self._seen = {namespace: Seen.of(self.client, namespace) for namespace in options.watched or ("*",)}

    def seen(self, namespace: str) -> Seen:
        """What there is in a namespace."""
        return self._seen.get(namespace) or self._seen["*"]

    def keep(self) -> list[asyncio.Task[None]]:
        """Hold the lease and watch the cluster, for as long as the tasks live."""
        return [
            asyncio.create_task(lasting) for lasting in (self.lease.keep(), *(s.keep() for s in self._seen.values()))
        ]

    def parts(self, declaration: ModelService, namespace: str, owner: Manifest) -> "Parts":
        """What a service is made of."""
        return Parts(self, declaration, namespace, owner)


class Parts:
    """The ports of one service in a cluster, and the service over them."""

    def __init__(self, operator: Operator, declaration: ModelService, namespace: str, owner: Manifest) -> None:
        options, spec, name = operator.options, declaration.spec, declaration.name
        self._seen, self._key = operator.seen(namespace), (namespace, name)
        hostname = spec.cluster.hostname or f"{name}.{namespace}.perch"
        route = Route(name, namespace, spec.cluster.gateway, hostname)
        self._labels: ClusterLabels | None = None
        if options.outcomes is not None:
            window_s = spec.attribution_window_s
            collecting = Collecting(name, namespace, options.image, window_s, options.outcomes)
            token, may_write = labels_token(options.ledgers, namespace, name), operator.lease.check
            self._labels = ClusterLabels(operator.client, collecting, route, token, owner=owner, may_write=may_write)
        serving = Serving(
            service=name,
            namespace=namespace,
            model=spec.model,
            image=options.image,
            registry_url=options.registry_url,
            slo_latency_ms=spec.slo.latency_p99_ms,
            replicas=spec.cluster.replicas,
            cpu=spec.cluster.cpu,
            memory=spec.cluster.memory,
            token_secret=options.token_secret,
            collector_url=self._labels.collector_url if self._labels else None,
        )
        share = spec.policy.baseline_share

        def weights(standing: Standing) -> Weights:
            return standing.weights(share)

        self._fleet = KServeFleet(
            operator.client,
            serving,
            operator.registry,
            seen=self._seen,
            owner=owner,
            may_write=operator.lease.check,
        )
        self._metrics = ScrapeSource(self._fleet.sources)
        self.store = StatusStore(
            operator.client,
            name,
            namespace,
            operator=options.namespace,
            may_write=operator.lease.check,
            weights=weights,
        )
        self._router = GatewayRouter(operator.blocking, route, owner=owner, may_write=operator.lease.check)
        ports = Ports(operator.registry, self._fleet, self._router, self._metrics, self.store, self._labels)
        self.service = Service(declaration, ports, options.ledgers / namespace / name, notify=_say(namespace, name))

    async def adopt(self, *, renew: bool) -> None:
        """Take over what runs already; `renew`: for it to be brought up to date."""
        if self._labels is not None:
            await self._labels.open(_say(*self._key))
        await self._fleet.adopt(renew=renew)

    async def mend(self) -> AsyncIterator[str]:
        """Bring back what somebody else changed or took away, a sentence for each."""
        namespace, name = self._key
        if self._router.is_foreign(self._seen.routes.of(namespace, name).get(name)):
            self.service.route_anew()
            yield f"Somebody else changed HTTPRoute {name} or took it away; it is written again."
        for version in await self._fleet.mend():
            yield f"Somebody else took version {version} away; it is made again."

    async def close(self) -> None:
        """Close the connections."""
        await self._metrics.close()
        if self._labels is not None:
            await self._labels.close()


def handlers(operator: Operator) -> kopf.OperatorRegistry:
    """The handlers that kopf runs."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**told: Any) -> kopf.ConnectionInfo | None:  # noqa: ANN401
        in_pod = kopf.login_with_service_account(**told)
        return in_pod if in_pod is not None else kopf.login_with_kubeconfig(**told)

    @kopf.on.startup(registry=registry)
    async def configure(settings: kopf.OperatorSettings, memo: kopf.Memo, **_: object) -> None:
        settings.persistence.finalizer = f"{GROUP}/operator"
        settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
        settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
        settings.posting.level = logging.WARNING
        memo.tasks = operator.keep()

    @kopf.on.cleanup(registry=registry)
    async def leave(memo: kopf.Memo, **_: object) -> None:
        for task in memo.tasks:
            task.cancel()
        await operator.lease.give_back()

    @kopf.daemon(GROUP, VERSION, PLURAL, registry=registry, cancellation_backoff=5.0, cancellation_timeout=20.0)
    async def serve(
        body: kopf.Body, name: str, namespace: str | None, stopped: kopf.DaemonStopped, **_: object
    ) -> None:
        assert namespace is not None
        while not stopped:
            if not operator.lease.held:
                operator.meters.forget(namespace, name)
                await stopped.wait(_WAIT_S)
                continue
            try:
                await _host(operator, body, namespace, stopped)
            except PerchError as error:
                _say(namespace, name)(str(error))
                kopf.warn(body, reason="NotServing", message=str(error))
                operator.meters.tell_not_served(namespace, name)
                await stopped.wait(_RETRY_S)
        operator.meters.forget(namespace, name)

    return registry


async def _host(operator: Operator, body: kopf.Body, namespace: str, stopped: kopf.DaemonStopped) -> None:
    """Run one service until the object goes, the lease is lost, or what is fixed at the start changes.

    What is fixed waits for the end of a rollout in progress, and so does bringing the versions up to date.
    """
    wish = wish_of(body)
    name, made_with = wish.declaration.name, fixed_of(wish)
    say = _say(namespace, name)
    parts = operator.parts(wish.declaration, namespace, owner_of(body))

    def announce(reason: str, sentence: str) -> None:
        kind = "Normal" if reason in _GOOD_NEWS else "Warning"
        kopf.event(body, type=kind, reason=reason, message=sentence)

    hosted = Hosted(parts, announce)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(parts.close)
        operator.meters.begin(namespace, name, made_with.slo)
        await _check_unclaimed(operator, parts.store, name)
        await hosted.open(wish)
        stack.push_async_callback(hosted.close)
        is_outdated = hosted.is_busy
        due = time.monotonic()
        while not stopped and operator.lease.held:
            unmeant: PerchError | None = None
            try:
                wish = wish_of(body)
            except PerchError as error:
                unmeant = error
            is_outdated = is_outdated or fixed_of(wish) != made_with
            if is_outdated and not hosted.is_busy:
                return
            try:
                with operator.meters.tick():
                    if unmeant is not None:
                        await hosted.refuse(wish, str(unmeant))
                    async for sentence in parts.mend():
                        announce("Mended", sentence)
                    await hosted.step(wish, time.time())
            except SupersededError:
                raise
            except (PerchError, OSError) as error:
                say(f"A tick failed, and the next one tries again; meanwhile no canary gets more traffic. {error}")
            except Exception as error:  # noqa: BLE001  the next tick must come whatever happens in this one
                say(f"A tick failed, which is a fault of Perch's: {error!r}. No canary gets more traffic meanwhile.")
                _log.exception("A tick failed.")
            weight, e_value = parts.service.weights.canary, parts.service.e_value
            operator.meters.tell(namespace, name, parts.store.told, canary_weight=weight, e_value=e_value)
            due = max(due + TICK_S, time.monotonic())
            await stopped.wait(due - time.monotonic())


async def _check_unclaimed(operator: Operator, store: StatusStore, name: str) -> None:
    """Raise `PlatformError` while the Perch of another namespace runs the service."""
    other = await store.claimant()
    if other not in {None, operator.options.namespace} and await operator.lease.is_kept(other):
        raise PlatformError(
            f"ModelService {name} is run by the Perch in namespace {other}. Uninstall one of the two, or give each"
            " namespaces of its own with operator.watch."
        )


def wish_of(body: Mapping[str, Any]) -> Wish:
    """What an object says now; raises `PerchError` when the schema let through what the settings refuse."""
    metadata = body["metadata"]
    try:
        declaration = ModelService.model_validate(
            {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": "ModelService",
                "metadata": {"name": metadata["name"]},
                "spec": dict(body.get("spec") or {}),
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise PerchError(f"ModelService {metadata['name']} cannot be meant: {where}: {first['msg']}.") from None
    request = (metadata.get("annotations") or {}).get(REQUEST_ANNOTATION)
    return Wish(declaration, metadata["generation"], request)


def labels_token(folder: Path, namespace: str, name: str) -> str:
    """The operator's own token for the labels of a service, kept apart from the ledgers, which people fetch.

    Raises:
        PlatformError: it cannot be kept.
    """
    try:
        return asgi.read_token(asgi.keep_token(folder / ".labels-tokens" / namespace / name))
    except OSError as error:
        raise PlatformError(f"The token of labels cannot be kept in {folder} ({error.strerror}); mend it.") from None


def fixed_of(wish: Wish) -> Spec:
    """What a service is made with; a change of it makes the service anew, between two rollouts."""
    return wish.declaration.spec.model_copy(update={"version": None})


def owner_of(body: Mapping[str, Any]) -> Manifest:
    """Reference by which what is made for an object goes with it."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "ModelService",
        "name": body["metadata"]["name"],
        "uid": body["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _say(namespace: str, name: str) -> Callable[[str], None]:
    def say(sentence: str) -> None:
        _log.info("%s/%s: %s", namespace, name, sentence)

    return say
