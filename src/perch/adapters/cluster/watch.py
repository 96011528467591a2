"""Keeps what the API server says about the objects of services at hand, so that looking costs nothing.

Objects are listed, followed for a minute, and listed again: what a broken connection hid is known a minute later.
(Kubernetes, API concepts: Efficient detection of changes.)
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final, Generic, TypeVar, cast

from lightkube import AsyncClient

from perch.adapters.cluster.objects import SERVICE_LABEL

T = TypeVar("T")

FOLLOWED_S: Final = 60.0
"""How long changes are followed before all objects are listed again."""

_RETRY_S = 1.0
_PAGE = 200

_log = logging.getLogger(__name__)


class Watch(Generic[T]):
    """The objects of one kind that belong to services, by service and name; `None` for what is not worth keeping."""

    def __init__(
        self,
        client: AsyncClient,
        kind: Any,  # noqa: ANN401
        told: Callable[[Any], T | None],
        *,
        namespace: str = "*",
    ) -> None:
        """Make a watch that knows nothing yet; `keep` fills it.

        Args:
            client: Of the API server.
            kind: A resource of lightkube's.
            told: What is kept of an object.
            namespace: Where to look; `*`: everywhere.
        """
        self._client = client
        self._kind = kind
        self._told = told
        self._namespace = namespace
        self._known: dict[tuple[str, str], dict[str, T]] = {}
        self._listed = asyncio.Event()

    def of(self, namespace: str, service: str) -> Mapping[str, T]:
        """What is known of a service's objects, by their names."""
        return self._known.get((namespace, service), {})

    async def listed(self) -> None:
        """Wait until all objects have been listed once."""
        await self._listed.wait()

    async def keep(self) -> None:
        """List and follow, for ever. While the API server is away, what was known last is kept."""
        while True:
            try:
                version = await self._list()
                await self._follow(version)
            except Exception as error:  # noqa: BLE001  whatever an API server answers: the next try must come
                _log.warning("What the cluster says of %s is not followed: %s", self._kind.__name__, error)
                await asyncio.sleep(_RETRY_S)

    async def _list(self) -> str:
        """List all objects; the version that they were listed at."""
        found: defaultdict[tuple[str, str], dict[str, T]] = defaultdict(dict)
        listed = self._client.list(self._kind, namespace=self._namespace, labels=_OF_SERVICES, chunk_size=_PAGE)
        async for one in listed:
            self._put(found, one)
        self._known = found
        self._listed.set()
        return listed.resourceVersion

    async def _follow(self, version: str) -> None:
        watched = self._client.watch(
            self._kind, namespace=self._namespace, labels=_OF_SERVICES, resource_version=version
        )
        events = cast("AsyncIterator[tuple[str, Any]]", watched)
        try:
            async with asyncio.timeout(FOLLOWED_S), aclosing(events):  # type: ignore[type-var]  # it is a generator
                async for change, one in events:
                    if change == "DELETED":
                        _drop(self._known, one)
                    else:
                        self._put(self._known, one)
        except TimeoutError:
            return

    def _put(self, known: dict[tuple[str, str], dict[str, T]], one: Any) -> None:  # noqa: ANN401
        told = self._told(one)
        if told is None:
            _drop(known, one)
        else:
            known.setdefault(_service_of(one), {})[one.metadata.name] = told


def _drop(known: Mapping[tuple[str, str], dict[str, T]], one: Any) -> None:  # noqa: ANN401
    known.get(_service_of(one), {}).pop(one.metadata.name, None)


_OF_SERVICES: Final[dict[str, Any]] = {SERVICE_LABEL: None}  # it has the label


def _service_of(one: Any) -> tuple[str, str]:  # noqa: ANN401
    return one.metadata.namespace, one.metadata.labels[SERVICE_LABEL]
