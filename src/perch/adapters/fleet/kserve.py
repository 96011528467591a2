"""Runs each version as an InferenceService of KServe, in Standard mode: a Deployment and a Service of its own.

What a version's object says stands in `kserve_resources`; here it is written, watched and taken away.
"""

import asyncio
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, cast

from lightkube import AsyncClient
from lightkube.core.exceptions import ApiError
from lightkube.models.core_v1 import ContainerStatus
from lightkube.resources.core_v1 import Pod as PodObject
from lightkube.resources.core_v1 import Service as ServiceObject
from lightkube.types import CascadeType

from perch.adapters.cluster.objects import (
    LIVE_PORT,
    SERVICE_LABEL,
    VERSION_LABEL,
    InferenceService,
    Manifest,
    calling,
)
from perch.adapters.fleet.kserve_resources import PORT, Serving, inference_service, object_name, version_service
from perch.adapters.metrics.scrape import ScrapeSource
from perch.adapters.registry.port import ModelRegistry
from perch.core.types import Counts
from perch.errors import PlatformError
from perch.signals.observe import source_name

READY_TIMEOUT_S: Final = 240.0

_POLL_S = 0.5
_NOT_FOUND = 404
_ENDED = {"Succeeded", "Failed"}  # their addresses may be another pod's by now
_STUCK = {"CrashLoopBackOff", "ErrImagePull", "ErrImageNeverPull", "ImagePullBackOff", "CreateContainerConfigError"}


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of a version."""

    name: str
    version: int
    address: str
    """`host:port`; empty before it has one."""

    is_ready: bool


class KServeFleet:
    """A `Fleet` of InferenceServices."""

    def __init__(
        self, client: AsyncClient, serving: Serving, registry: ModelRegistry, owner: Manifest | None = None
    ) -> None:
        """Make a fleet; `adopt` finds what runs already.

        Args:
            client: Of the API server.
            serving: How versions are run.
            registry: Knows the digest of each version.
            owner: Reference to the object with which the versions are to go.
        """
        self._client = client
        self._serving = serving
        self._registry = registry
        self._owner = owner
        self._versions: set[int] = set()
        self._pods: tuple[Pod, ...] = ()

    async def adopt(self) -> None:
        """Take over the versions that run already. Raises `PlatformError` when the API server does not answer."""
        serving = self._serving
        selector: dict[str, Any] = {SERVICE_LABEL: serving.service}
        with calling(f"list the versions of {serving.service}"):
            listed = self._client.list(InferenceService, namespace=serving.namespace, labels=selector)
            self._versions = {int(one["metadata"]["labels"][VERSION_LABEL]) async for one in listed}
        await self.refresh()

    async def refresh(self) -> None:
        """Look at the pods. Raises `PlatformError` when the API server does not answer."""
        serving = self._serving
        selector: dict[str, Any] = {SERVICE_LABEL: serving.service}
        with calling(f"list the pods of {serving.service}"):
            self._pods = tuple(
                [
                    _pod(one)
                    async for one in self._client.list(PodObject, namespace=serving.namespace, labels=selector)
                    if one.status is not None and one.status.phase not in _ENDED
                ]
            )

    async def start(self, version: int) -> None:
        """See `Fleet.start`. Returns when the version's Deployment is available; one that does not come up is gone."""
        if version in self._versions:
            return
        try:
            await self._start(version)
        except BaseException:
            await self.stop(version)
            raise
        self._versions.add(version)

    async def _start(self, version: int) -> None:
        registered = await asyncio.to_thread(self._registry.get, self._serving.model, version)
        runs, leads = inference_service(self._serving, registered), version_service(self._serving, version)
        if self._owner is not None:
            for manifest in (runs, leads):
                manifest["metadata"]["ownerReferences"] = [self._owner]
        with calling(f"run version {version} of {self._serving.service}"):
            await self._client.apply(cast("ServiceObject", ServiceObject.from_dict(leads)), force=True)
            await self._client.apply(InferenceService.from_dict(runs), force=True)
        await self._await_ready(version)

    async def stop(self, version: int) -> None:
        """See `Fleet.stop`. The pods finish their requests within their grace period."""
        self._versions.discard(version)
        name = object_name(self._serving.service, version)
        for kind in (InferenceService, ServiceObject):
            with calling(f"stop version {version} of {self._serving.service}"):
                try:
                    await self._client.delete(
                        kind, name, namespace=self._serving.namespace, cascade=CascadeType.FOREGROUND
                    )
                except ApiError as error:
                    if error.status.code != _NOT_FOUND:
                        raise

    async def eject(self, version: int, pod: str) -> None:
        """See `Fleet.eject`: the pod is deleted, and its Deployment makes another one."""
        with calling(f"delete pod {pod} of version {version}"):
            try:
                await self._client.delete(PodObject, pod, namespace=self._serving.namespace)
            except ApiError as error:
                if error.status.code != _NOT_FOUND:
                    raise

    def down(self) -> Collection[int]:
        """Versions of which no pod was ready at the last look."""
        return self._versions - {pod.version for pod in self._pods if pod.is_ready}

    def endpoints(self) -> Mapping[int, str]:
        """The Service of each version."""
        serving = self._serving
        return {
            version: f"{object_name(serving.service, version)}.{serving.namespace}:{LIVE_PORT}"
            for version in self._versions
        }

    def sources(self) -> Mapping[str, str]:
        """Address of each pod that has one, by its name as a source."""
        return {source_name(pod.version, pod.name): pod.address for pod in self._pods if pod.address}

    async def _await_ready(self, version: int) -> None:
        deadline, serving = time.monotonic() + READY_TIMEOUT_S, self._serving
        name, trouble = object_name(serving.service, version), "it was not looked at yet"
        while time.monotonic() < deadline:
            with calling(f"look at version {version} of {serving.service}"):
                found = await self._client.get(InferenceService, name, namespace=serving.namespace)
            if _is_ready(found):
                return
            trouble = await self._trouble(version)
            await asyncio.sleep(_POLL_S)
        raise PlatformError(
            f"Version {version} of {serving.service} did not come up within {READY_TIMEOUT_S:.0f} s: {trouble}. "
            f"See `kubectl describe inferenceservice {name}` and the logs of its pods."
        )

    async def _trouble(self, version: int) -> str:
        selector: dict[str, Any] = {SERVICE_LABEL: self._serving.service, VERSION_LABEL: str(version)}
        with calling(f"list the pods of version {version}"):
            listed = self._client.list(PodObject, namespace=self._serving.namespace, labels=selector)
            pods = [pod async for pod in listed]
        return "; ".join(why for pod in pods for why in _why_not_ready(pod)) or "its pods are still starting"


class PodSource:
    """A `MetricsSource` that asks each pod of a fleet, as it stands at that moment."""

    def __init__(self, fleet: KServeFleet) -> None:
        self._fleet = fleet
        self._scrape = ScrapeSource(fleet.sources)

    async def read(self) -> Mapping[str, Mapping[str, Counts] | None]:
        """See `MetricsSource.read`. While the API server is away, the pods that were known last are asked."""
        with suppress(PlatformError):
            await self._fleet.refresh()
        return await self._scrape.read()

    async def close(self) -> None:
        """Close the connections."""
        await self._scrape.close()


def _label(found: Mapping[str, str] | None, name: str) -> str:
    return (found or {}).get(name, "0")


def _pod(found: PodObject) -> Pod:
    status, metadata = found.status, found.metadata
    assert status is not None
    assert metadata is not None
    conditions = {one.type: one.status for one in status.conditions or []}
    is_going = metadata.deletionTimestamp is not None
    return Pod(
        name=metadata.name or "",
        version=int(_label(metadata.labels, VERSION_LABEL)),
        address=f"{status.podIP}:{PORT}" if status.podIP else "",
        is_ready=conditions.get("Ready") == "True" and not is_going,
    )


def _is_ready(found: Mapping[str, Any]) -> bool:
    status = found.get("status") or {}
    if status.get("observedGeneration", 0) < found["metadata"]["generation"]:
        return False
    return any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", []))


def _why_not_ready(pod: PodObject) -> Iterator[str]:
    status = pod.status
    if status is None or pod.metadata is None:
        return
    for one in (*(status.initContainerStatuses or []), *(status.containerStatuses or [])):
        if why := _stuck(one):
            yield f"{one.name} of pod {pod.metadata.name}: {why}"


def _stuck(one: ContainerStatus) -> str | None:
    waiting = one.state.waiting if one.state else None
    if waiting is None or waiting.reason not in _STUCK:
        return None
    last = one.lastState.terminated if one.lastState else None
    return f"{waiting.reason} {last.message or f'after exit code {last.exitCode}'}" if last else str(waiting.reason)
