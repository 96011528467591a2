"""What there is of services in a cluster: their pods, versions and routes, as the API server last told."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from lightkube import AsyncClient
from lightkube.resources.core_v1 import Pod as PodObject
from lightkube.resources.core_v1 import Service as ServiceObject

from perch.adapters.cluster.objects import FINGERPRINT_LABEL, VERSION_LABEL, HTTPRoute, InferenceService
from perch.adapters.cluster.watch import Watch

_ENDED = {"Succeeded", "Failed"}  # their addresses may be another pod's by now


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of a version."""

    name: str
    version: int
    host: str
    """Address; empty before it has one."""

    fingerprint: str
    """Of what it was made with."""

    is_ready: bool


@dataclass(frozen=True, slots=True)
class Version:
    """The object that runs a version."""

    number: int
    fingerprint: str
    """Of what it is to be made with."""


@dataclass(frozen=True, slots=True)
class Written:
    """Which object it is, and how often its `spec` has been written: one that is made anew begins at 1 again."""

    uid: str
    generation: int

    @classmethod
    def of(cls, found: Any) -> Self:  # noqa: ANN401  any resource of lightkube's
        """What an object is."""
        return cls(str(found.metadata.uid), int(found.metadata.generation))


@dataclass(frozen=True, slots=True)
class Seen:
    """All that is watched, in one namespace or everywhere."""

    pods: Watch[Pod]
    versions: Watch[Version]
    services: Watch[int]
    """Of the Services that lead to versions, which version."""

    routes: Watch[Written]

    @classmethod
    def of(cls, client: AsyncClient, namespace: str) -> Self:
        """Watch a namespace; `*`: all. `keep` begins."""
        return cls(
            Watch(client, PodObject, _pod, namespace=namespace),
            Watch(client, InferenceService, _version, namespace=namespace),
            Watch(client, ServiceObject, _service, namespace=namespace),
            Watch(client, HTTPRoute, Written.of, namespace=namespace),
        )

    async def keep(self) -> None:
        """Watch for ever."""
        await asyncio.gather(self.pods.keep(), self.versions.keep(), self.services.keep(), self.routes.keep())

    async def listed(self) -> None:
        """Wait until everything has been listed once."""
        await asyncio.gather(self.pods.listed(), self.versions.listed(), self.services.listed(), self.routes.listed())


def _pod(found: PodObject) -> Pod | None:
    status, metadata = found.status, found.metadata
    labels = (metadata.labels if metadata else None) or {}
    version = _number(labels)
    if status is None or metadata is None or version is None or status.phase in _ENDED:
        return None
    conditions = {one.type: one.status for one in status.conditions or []}
    is_going = metadata.deletionTimestamp is not None
    return Pod(
        name=metadata.name or "",
        version=version,
        host=status.podIP or "",
        fingerprint=labels.get(FINGERPRINT_LABEL, ""),
        is_ready=conditions.get("Ready") == "True" and not is_going,
    )


def _version(found: Any) -> Version | None:  # noqa: ANN401
    labels = found.metadata.labels
    version = _number(labels)
    if version is None or found.metadata.deletionTimestamp is not None:
        return None
    return Version(version, labels.get(FINGERPRINT_LABEL, ""))


def _service(found: ServiceObject) -> int | None:
    return _number((found.metadata.labels if found.metadata else None) or {})


def _number(labels: Mapping[str, str]) -> int | None:
    """The version that labels name. Anybody may write labels: what is no number is not ours."""
    told = labels.get(VERSION_LABEL, "")
    return int(told) if told.isascii() and told.isdecimal() else None
