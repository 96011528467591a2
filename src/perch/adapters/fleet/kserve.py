"""Runs each version as an InferenceService of KServe, in Standard mode: a Deployment and a Service of its own.

What a version's object says stands in `kserve_resources`; here it is written, watched and taken away.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final, cast

from lightkube import AsyncClient
from lightkube.core.exceptions import ApiError
from lightkube.models.core_v1 import ContainerStatus
from lightkube.resources.core_v1 import Pod as PodObject
from lightkube.resources.core_v1 import Service as ServiceObject
from lightkube.types import CascadeType

from perch.adapters.cluster.objects import (
    LIVE_PORT,
    NOT_FOUND,
    SERVICE_LABEL,
    VERSION_LABEL,
    InferenceService,
    Manifest,
    calling,
)
from perch.adapters.cluster.seen import Pod, Seen
from perch.adapters.cluster.writing import check_ours, find, is_ours, writing
from perch.adapters.fleet.kserve_resources import PORT, Serving, inference_service, object_name, version_service
from perch.adapters.registry.port import ModelRegistry
from perch.adapters.registry.threads import in_registry_thread
from perch.errors import PlatformError
from perch.signals.observe import source_name

READY_TIMEOUT_S: Final = 240.0

_KINDS: Final = (ServiceObject, InferenceService)  # of which a version has one object each

_POLL_S = 0.5
_STUCK = {"CrashLoopBackOff", "ErrImagePull", "ErrImageNeverPull", "ImagePullBackOff", "CreateContainerConfigError"}


class KServeFleet:
    """A `Fleet` of InferenceServices."""

    def __init__(
        self,
        client: AsyncClient,
        serving: Serving,
        registry: ModelRegistry,
        *,
        seen: Seen,
        owner: Manifest,
        may_write: Callable[[], None],
    ) -> None:
        """Make a fleet; `adopt` finds what runs already.

        Args:
            client: Of the API server.
            serving: How versions are run.
            registry: Knows the digest of each version.
            seen: What there is in the cluster.
            owner: Reference to the object with which the versions are to go.
            may_write: Asked right before each write; raises `PlatformError` when another operator writes.
        """
        self._client = client
        self._serving = serving
        self._registry = registry
        self._seen = seen
        self._owner = owner
        self._may_write = may_write
        self._versions: set[int] = set()
        self._outdated: set[int] = set()
        self._noticed: set[int] = set()

    async def adopt(self, *, renew: bool) -> None:
        """Take over the versions that run already.

        Args:
            renew: Have `start` bring those up to date that would be run otherwise by now, pod by pod.
        """
        await self._seen.listed()
        there = self._there()
        self._versions = set(there)
        self._outdated = {v for v, made in there.items() if renew and made != self._serving.fingerprint}

    async def start(self, version: int) -> None:
        """See `Fleet.start`. Returns when all its pods are up to date; one that does not come up is gone."""
        if version in self._versions - self._outdated:
            return
        try:
            await self._await_gone(version)
            await self._apply(version)
            await self._await_ready(version)
        except BaseException:
            if version not in self._versions:
                with contextlib.suppress(PlatformError):  # the reason why it is stopped is the one to tell
                    await self.stop(version)
            raise
        self._versions.add(version)
        self._outdated.discard(version)

    async def mend(self) -> Collection[int]:
        """Make again what somebody else has taken away, without waiting for it; the versions that were mended.

        Raises:
            PlatformError: the API server does not answer, or refuses; the next call tries again.
        """
        there = self._there().keys()
        missing = (self._versions & self._noticed) - there
        lost = {version for version in missing if not await self._is_going(version)}
        for version in lost:
            await self._apply(version)
        self._noticed = (self._noticed - lost) | there  # one that is lost is looked for only when it was seen again
        return lost

    def _there(self) -> Mapping[int, str]:
        """The versions of which all objects exist, and what they were made with."""
        namespace, service = self._serving.namespace, self._serving.service
        led = self._seen.services.of(namespace, service)
        running = self._seen.versions.of(namespace, service)
        return {version.number: version.fingerprint for name, version in running.items() if name in led}

    async def _apply(self, version: int) -> None:
        serving = self._serving
        registered = await in_registry_thread(self._registry.get, serving.model, version)
        leads, runs = version_service(serving, version), inference_service(serving, registered)
        for manifest in (leads, runs):
            manifest["metadata"]["ownerReferences"] = [self._owner]
        doing = f"run version {version} of {serving.service}"
        with calling(doing):
            for kind in _KINDS:
                check_ours(await self._find(kind, version), serving.service, self._owner)
        async with writing(doing, self._may_write):
            await self._client.apply(cast("ServiceObject", ServiceObject.from_dict(leads)), force=True)
        async with writing(doing, self._may_write):
            await self._client.apply(InferenceService.from_dict(runs), force=True)

    async def _find(self, kind: type[Any], version: int) -> Any:  # noqa: ANN401  what lightkube makes of it
        """One of the objects of a version; `None` when there is none of its name."""
        return await find(self._client, kind, object_name(self._serving.service, version), self._serving.namespace)

    async def _is_going(self, version: int) -> bool:
        """Whether an object of a version is still being deleted: what is written to it goes with it."""
        with calling(f"look at version {version} of {self._serving.service}"):
            found = [await self._find(kind, version) for kind in _KINDS]
        return any(one is not None and one.metadata.deletionTimestamp is not None for one in found)

    async def _await_gone(self, version: int) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while await self._is_going(version):
            if time.monotonic() > deadline:
                raise PlatformError(
                    f"Version {version} of {self._serving.service} was stopped and is still there after "
                    f"{READY_TIMEOUT_S:.0f} s. See what the finalizers of its InferenceService and its pods wait for."
                )
            await asyncio.sleep(_POLL_S)

    async def stop(self, version: int) -> None:
        """See `Fleet.stop`. The pods finish their requests within their grace period; what is not ours is left alone.

        Raises:
            PlatformError: the API server does not answer, or refuses; the version still counts as one that runs.
        """
        ran = version in self._versions
        self._versions.discard(version)
        self._noticed.discard(version)
        try:
            for kind in (InferenceService, ServiceObject):
                await self._delete(kind, version)
        except PlatformError:
            if ran:
                self._versions.add(version)
            raise

    async def _delete(self, kind: type[Any], version: int) -> None:
        serving, doing = self._serving, f"stop version {version} of {self._serving.service}"
        with calling(doing):
            found = await self._find(kind, version)
        if found is None or not is_ours(found.metadata, serving.service, self._owner):
            return
        async with writing(doing, self._may_write):
            await self._take_away(kind, object_name(serving.service, version), cascade=CascadeType.FOREGROUND)

    async def _take_away(self, kind: type[Any], name: str, *, cascade: CascadeType | None = None) -> None:
        """Delete an object, unless it is gone."""
        try:
            await self._client.delete(kind, name, namespace=self._serving.namespace, cascade=cascade)
        except ApiError as error:
            if error.status.code != NOT_FOUND:
                raise

    async def eject(self, version: int, pod: str) -> None:
        """See `Fleet.eject`: the pod is deleted, and its Deployment makes another one."""
        async with writing(f"delete pod {pod} of version {version}", self._may_write):
            await self._take_away(PodObject, pod)

    def down(self) -> Collection[int]:
        """Versions of which no pod is ready."""
        return self._versions - {pod.version for pod in self._pods if pod.is_ready}

    @property
    def _pods(self) -> Collection[Pod]:
        return self._seen.pods.of(self._serving.namespace, self._serving.service).values()

    def endpoints(self) -> Mapping[int, str]:
        """The Service of each version."""
        serving = self._serving
        return {
            version: f"{object_name(serving.service, version)}.{serving.namespace}:{LIVE_PORT}"
            for version in self._versions
        }

    def sources(self) -> Mapping[str, str]:
        """Address of each pod that has one, by its name as a source."""
        return {source_name(pod.version, pod.name): f"{pod.host}:{PORT}" for pod in self._pods if pod.host}

    async def _await_ready(self, version: int) -> None:
        deadline, serving = time.monotonic() + READY_TIMEOUT_S, self._serving
        name, trouble = object_name(serving.service, version), "it was not looked at yet"
        while time.monotonic() < deadline:
            with calling(f"look at version {version} of {serving.service}"):
                found = await self._client.get(InferenceService, name, namespace=serving.namespace)
            if _is_ready(found) and self._is_renewed(version):
                return
            trouble = await self._trouble(version)
            await asyncio.sleep(_POLL_S)
        raise PlatformError(
            f"Version {version} of {serving.service} did not come up within {READY_TIMEOUT_S:.0f} s: {trouble}. "
            f"See `kubectl describe inferenceservice {name}` and the logs of its pods."
        )

    def _is_renewed(self, version: int) -> bool:
        """Whether it has pods, all of them up to date."""
        made = {pod.fingerprint for pod in self._pods if pod.version == version and pod.is_ready}
        return made == {self._serving.fingerprint}

    async def _trouble(self, version: int) -> str:
        selector: dict[str, Any] = {SERVICE_LABEL: self._serving.service, VERSION_LABEL: str(version)}
        with calling(f"list the pods of version {version}"):
            listed = self._client.list(PodObject, namespace=self._serving.namespace, labels=selector)
            pods = [pod async for pod in listed]
        return "; ".join(why for pod in pods for why in _why_not_ready(pod)) or "its pods are still starting"


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
