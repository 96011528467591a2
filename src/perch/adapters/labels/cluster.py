"""Reads labels from a collector that it runs in the cluster, and leads the route's `/feedback` to it.

The operator may create Secrets and read none: it makes the tokens of predictions and outcomes, and forgets them. What
it asks for labels with is a token of its own, of which the collector is told the digest.

The way for outcomes is a route of its own. In the route that splits the traffic, a collector that is missing would be a
backend that does not resolve, the gateway would not accept the route, and weights could not be changed.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Final

from lightkube import AsyncClient
from lightkube.core.exceptions import ApiError
from lightkube.resources.apps_v1 import Deployment, StatefulSet
from lightkube.resources.batch_v1 import CronJob
from lightkube.resources.core_v1 import PersistentVolumeClaim, Secret
from lightkube.resources.core_v1 import Service as ServiceObject

from perch import asgi
from perch.adapters.cluster.objects import CONFLICT, HTTPRoute, Manifest, calling
from perch.adapters.cluster.writing import check_ours, find, is_ours, writing
from perch.adapters.labels.collector_resources import (
    PORT,
    Collecting,
    collector_service,
    secret,
    stateful_set,
    volume_claim,
)
from perch.adapters.labels.http import HttpLabels
from perch.adapters.labels.judge_resources import Judging, cron_job, deployment, inspection_name, judge_name
from perch.adapters.traffic.gateway import REQUEST_TIMEOUT, Route
from perch.errors import PlatformError
from perch.signals.labels import Arrivals, Comparison, Cursor
from perch.signals.matured import MaturedSince

FEEDBACK_PATH: Final = "/feedback"

_INTERVAL_S = 60.0


class ClusterLabels:
    """A `LabelSource` that keeps the collector of one service running."""

    def __init__(
        self,
        client: AsyncClient,
        collecting: Collecting,
        route: Route,
        token: str,
        *,
        judging: Judging | None = None,
        inspecting: Judging | None = None,
        owner: Manifest,
        may_write: Callable[[], None],
    ) -> None:
        """Make a source whose collector does not run yet; `open` makes it.

        Args:
            client: Of the API server.
            collecting: What is to run.
            route: The gateway and the host at which applications tell outcomes.
            token: Opens the collector for labels.
            judging: The external judge that is to run beside it; `None`: none is.
            inspecting: Who is to inspect the champion once an hour; `None`: nobody.
            owner: Reference to the object with which all of it is to go.
            may_write: Raises `PlatformError` when another operator writes.
        """
        self._client = client
        self._collecting = collecting
        self._judging = judging
        self._inspecting = inspecting
        self._route = route
        self._digest = asgi.digest(token)
        self._owner = owner
        self._may_write = may_write
        self._labels = HttpLabels(collecting.url, token)
        self._keeping: asyncio.Task[None] | None = None

    @property
    def collector_url(self) -> str:
        """Who is to be told predictions."""
        return self._collecting.url

    async def since(self, comparison: Comparison, cursor: Cursor) -> Arrivals | None:
        """See `LabelSource.since`."""
        return await self._labels.since(comparison, cursor)

    async def matured(self, version: int, since_s: float) -> MaturedSince | None:
        """See `LabelSource.matured`."""
        return await self._labels.matured(version, since_s)

    async def open(self, notify: Callable[[str], None]) -> None:
        """Run the collector, and keep it as it is to be, whatever somebody else changes or takes away.

        Returns after the first try, so that pods find their token. A try that fails is told, and stops nothing:
        rollouts go on without labels.
        """
        await self._try(notify)
        self._keeping = asyncio.create_task(self._keep(notify))

    async def close(self) -> None:
        """Leave the collector as it is, and close the connections."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self._labels.close()

    async def _keep(self, notify: Callable[[str], None]) -> None:
        while True:
            await asyncio.sleep(_INTERVAL_S)
            await self._try(notify)

    async def _try(self, notify: Callable[[str], None]) -> None:
        try:
            await self.apply()
        except PlatformError as error:
            notify(f"The collector is not as it should be, so labels may be missing. {error}")

    async def apply(self) -> None:
        """Make what is missing and mend what differs.

        Raises:
            PlatformError: something of the kind is somebody else's; or the API server refuses, or does not answer.
        """
        await self._create_secret()  # whatever comes of the rest: without it, no pod of the service starts
        wanted = list(self._wanted())
        doing = f"run the collector of {self._collecting.service}"
        with calling(doing):
            for one in wanted:
                check_ours(await self._find(one), self._collecting.service, self._owner)
        for one in wanted:
            async with writing(doing, self._may_write):
                await self._client.apply(one, force=True)
        if self._judging is None:
            await self._take_away(Deployment, judge_name(self._collecting.service))
        if self._inspecting is None:
            await self._take_away(CronJob, inspection_name(self._collecting.service))

    async def _take_away(self, kind: Any, name: str) -> None:  # noqa: ANN401  any resource of lightkube's
        """Delete what ran while it was wanted."""
        service, namespace = self._collecting.service, self._collecting.namespace
        doing = f"take {name} away"
        with calling(doing):
            found = await find(self._client, kind, name, namespace)
        if found is not None and found.metadata is not None and is_ours(found.metadata, service, self._owner):
            async with writing(doing, self._may_write):
                await self._client.delete(kind, name, namespace=namespace)

    def _wanted(self) -> Iterator[Any]:
        collecting = self._collecting
        yield self._owned(ServiceObject, collector_service(collecting))
        yield self._owned(StatefulSet, stateful_set(collecting, self._digest))
        yield self._owned(HTTPRoute, feedback_route(self._route, collecting))
        if self._judging is not None:
            yield self._owned(Deployment, deployment(collecting, self._judging))
        if self._inspecting is not None:
            yield self._owned(CronJob, cron_job(collecting, self._inspecting))
        yield self._owned(PersistentVolumeClaim, volume_claim(collecting))  # last, for one that cannot grow is refused

    async def _find(self, wanted: Any) -> Any:  # noqa: ANN401  any resource of lightkube's
        return await find(self._client, type(wanted), wanted.metadata.name, wanted.metadata.namespace)

    async def _create_secret(self) -> None:
        """Make the tokens, unless they are there: ours of before, or somebody's own, which stay theirs."""
        async with writing(f"make the tokens of {self._collecting.service}'s collector", self._may_write):
            try:
                await self._client.create(self._owned(Secret, secret(self._collecting)))
            except ApiError as error:
                if error.status.code != CONFLICT:
                    raise

    def _owned(self, kind: Any, manifest: Manifest) -> Any:  # noqa: ANN401  any resource of lightkube's
        manifest["metadata"]["ownerReferences"] = [self._owner]
        return kind.from_dict(manifest)


def feedback_route(route: Route, collecting: Collecting) -> Manifest:
    """The route on which outcomes are told; nothing else of the collector is reached by it.

    Its name has a dot, so that it is no ModelService's.
    """
    manifest = route.manifest
    manifest["metadata"]["name"] = f"{route.service}.feedback"
    rewrite = {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/v1/outcomes"}}
    manifest["spec"]["rules"] = [
        {
            "matches": [{"path": {"type": "Exact", "value": FEEDBACK_PATH}}],
            "filters": [{"type": "URLRewrite", "urlRewrite": rewrite}],
            "backendRefs": [{"name": collecting.name, "port": PORT}],
            "timeouts": {"request": REQUEST_TIMEOUT},
        }
    ]
    return manifest
